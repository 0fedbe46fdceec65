"""What `kfcore local run` says of a job that waits for what is not there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

KFCORE = str(Path(sys.executable).with_name("kfcore"))
JOB = """
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {name: mine}
spec:
  pytorchReplicaSpecs:
    Master:
      template:
        spec:
          volumes: [{name: settings, configMap: {name: missing, optional: OPTIONAL}}]
          containers:
          - name: pytorch
            image: any
            command: ["true"]
            envFrom: [{secretRef: {name: hidden}}]
            volumeMounts: [{name: settings, mountPath: /etc/settings}]
"""


@pytest.mark.parametrize(
    ("optional", "said"),
    [
        (
            "false",
            'master-0: ContainerCreating: MountVolume.SetUp failed for volume "settings" : configmap "missing" not '
            "found. Add it to the file, or create it with kubectl.",
        ),
        (
            "true",
            'master-0: CreateContainerConfigError: secret "hidden" not found. Add it to the file, or create it with '
            "kubectl.",
        ),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(tmp_path: Path, optional: str, said: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(JOB.replace("OPTIONAL", optional))
    with subprocess.Popen([KFCORE, "local", "run", str(file)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "Waiting" in line)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    assert line.rstrip().endswith(said)
