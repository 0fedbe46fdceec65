"""What the training tests share: an example run as its user runs it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
KFCORE = str(Path(sys.executable).with_name("kfcore"))


def needs(module: str, extra: str) -> pytest.MarkDecorator:
    """Skips a test, with the way to run it, where a framework is not installed."""
    spec = find_spec(module)
    missing = spec is None or spec.origin is None  # without an origin it is a mere directory of that name
    return pytest.mark.skipif(missing, reason=f"needs {module}: pip install '.[{extra}]'")


def local_run(example: str, timeout: float = 480) -> list[str]:
    """The lines that `kfcore local run` prints of an example that succeeds, run from a directory not its own."""
    command = [KFCORE, "local", "run", str(EXAMPLES / example)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd="/")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.splitlines()


def process_of(pod: str, argument: str) -> int:
    """The process that a pod's container runs: the eldest with `argument`, which no other test has, as this machine
    counts.

    A pod may count its processes from one, so what it says of itself is not what to kill.
    """
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (directory / "cmdline").read_bytes().split(b"\0")
            variables = (directory / "environ").read_bytes().split(b"\0")
            begun = int((directory / "stat").read_text().rpartition(")")[2].split()[19])
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
        if argument.encode() in arguments and f"HOSTNAME={pod}".encode() in variables:
            found.append((begun, int(directory.name)))
    assert found, f"no process of {pod} has {argument}"
    return min(found)[1]
