"""What a cluster on this machine costs: 100 pods of one job until they run, and a cluster in which nothing happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

from benchmarks.figure import Figure
from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.client.cluster import ClusterClient
from kfcore_pytorch import PyTorchJob

PODS = 100
IDLE_SECONDS = 20
SETTLE_SECONDS = 5
KFCORE = str(Path(sys.executable).with_name("kfcore"))


async def measure() -> list[Figure]:
    if sys.platform != "linux":
        return [Figure("a cluster on this machine", None, None, "needs /proc")]
    with _cluster() as (idle, _):
        processes = _tree(idle)
        await asyncio.sleep(SETTLE_SECONDS)
        began = _processor_seconds(processes)
        await asyncio.sleep(IDLE_SECONDS)
        used = (_processor_seconds(processes) - began) / IDLE_SECONDS * 100
        memory = sum(map(_memory, processes))
    with _cluster() as (_, kubeconfig):
        seconds = await _until_all_run(kubeconfig)
    return [
        Figure(f"{PODS} pods of one PyTorchJob, created to all running", seconds, 15, "s"),
        Figure("cluster at rest: processor time", used, 1, "% of a core"),
        Figure("cluster at rest: memory", memory, 100, "MB"),
    ]


@contextlib.contextmanager
def _cluster() -> Iterator[tuple[int, Path]]:
    """A `kfcore local up` with everything in it: its process, and its kubeconfig."""
    with tempfile.TemporaryDirectory() as directory:
        kubeconfig = Path(directory) / "kubeconfig"
        command = [KFCORE, "local", "up", "--kubeconfig", str(kubeconfig)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                yield process.pid, kubeconfig
            finally:
                process.send_signal(signal.SIGINT)
                process.communicate()


def _job() -> Manifest:
    container = {"name": "pytorch", "image": "any", "command": ["sleep", "600"]}
    pod = {"spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}
    replicas = {"Master": {"replicas": 1, "template": pod}, "Worker": {"replicas": PODS - 1, "template": pod}}
    return {"metadata": {"name": "many"}, "spec": {"pytorchReplicaSpecs": replicas}}


async def _until_all_run(kubeconfig: Path) -> float:
    running = set()
    async with await ClusterClient.connect(kubeconfig) as client:
        began = time.perf_counter()
        await client.create(untyped(PyTorchJob.resource), _job(), "default")
        async with aclosing(client.watch(untyped(Pod.resource), resource_version="0")) as events:  # type: ignore[type-var]
            async for event in events:
                if (event.object.raw.get("status") or {}).get("phase") == "Running":
                    running.add(event.object.name)
                if len(running) == PODS:
                    return time.perf_counter() - began
    raise RuntimeError(f"the watch ended with {len(running)} pods running")


def _tree(root: int) -> list[int]:
    """The process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _processor_seconds(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = _stat(pid)
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> float:
    """In MB, what the process has for itself and its part of what it shares."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1000
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    return 0.0


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
