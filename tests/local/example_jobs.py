"""The jobs of examples/, as tests run them: in the directory of their files, and with what they share in the test's."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from kfcore.api.meta import Manifest

EXAMPLES = Path(__file__).parents[2] / "examples" / "pytorch"
SHARED = "/tmp/kfcore-elastic"
"""Where the elastic example keeps its snapshot."""


def an_example(file: str, folder: Path) -> Manifest:
    text = json.dumps(yaml.safe_load((EXAMPLES / file).read_text()))
    manifest: Manifest = json.loads(text.replace(SHARED, str(folder / "shared")))
    for replica in manifest["spec"]["pytorchReplicaSpecs"].values():
        spec = replica["template"]["spec"]
        spec["terminationGracePeriodSeconds"] = 2
        for container in spec["containers"]:
            container["workingDir"] = str(EXAMPLES)
    return manifest
