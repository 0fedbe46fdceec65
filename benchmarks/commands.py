"""What a user waits for: the `kfcore` command, as a process of its own, from its start to what they wait for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.figure import Figure

KFCORE = [str(Path(sys.executable).with_name("kfcore"))]
EXAMPLE = Path(__file__).parent.parent / "examples" / "pytorch" / "single.yaml"


def measure() -> list[Figure]:
    return [
        Figure("`kfcore --help`", _best(5, lambda: _seconds("--help")) * 1e3, 150, "ms"),
        Figure("`kfcore local up` ready", _best(3, _seconds_until_ready), 1, "s"),
        Figure(
            "`kfcore local run` of the single-process example",
            _best(3, lambda: _seconds("local", "run", str(EXAMPLE))),
            3,
            "s",
        ),
    ]


def _best(rounds: int, measured: Callable[[], float]) -> float:
    return min(measured() for _ in range(rounds))


def _seconds(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([*KFCORE, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _seconds_until_ready() -> float:
    """From the start of the command until it says so: it prints how to connect once a client can."""
    with tempfile.TemporaryDirectory() as directory:
        command = [*KFCORE, "local", "up", "--kubeconfig", os.path.join(directory, "kubeconfig")]
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            process.stdout.readline()
            taken = time.perf_counter() - began
            process.send_signal(signal.SIGINT)
            process.communicate()
    return taken
