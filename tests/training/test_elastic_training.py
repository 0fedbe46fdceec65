"""An elastic PyTorchJob trains for real under torchrun: a worker is killed, another is added, and it goes on."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from local_run import EXAMPLES, needs, process_of

from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.apiserver.logs import LogOptions
from kfcore.client.errors import ApiError
from kfcore_local.cluster import LocalCluster
from kfcore_pytorch import PyTorchJob

pytestmark = [pytest.mark.slow, needs("torch", "demo"), needs("sklearn", "demo")]

HELD = "elastic_held.py"
Jobs, Pods = untyped(PyTorchJob.resource), untyped(Pod.resource)


def a_held_job(shared: Path, hold_from: int) -> Manifest:
    """The elastic example, which trains on from that epoch when `Run.go_on` is called."""
    job: Manifest = yaml.safe_load((EXAMPLES / "pytorch/elastic.yaml").read_text())
    pod = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    pod["volumes"][0]["hostPath"]["path"] = str(shared)
    (container,) = pod["containers"]
    container["command"] = ["torchrun", HELD, str(shared)]
    container["workingDir"] = str(Path(__file__).parent)
    container["volumeMounts"][0]["mountPath"] = str(shared)
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    variables |= {"PYTHONPATH": str(EXAMPLES / "pytorch"), "SNAPSHOT": str(shared / "snapshot.pt")}
    variables |= {"HOLD_FROM": str(hold_from)}
    container["env"] = [{"name": name, "value": value} for name, value in variables.items()]
    return job


class Run:
    """A running job, as its user watches it."""

    def __init__(self, cluster: LocalCluster, shared: Path) -> None:
        self.cluster = cluster
        self.shared = shared

    def go_on(self) -> None:
        (self.shared / "go").touch()

    async def log(self, pod: str) -> str:
        try:
            found = (await self.cluster.client.get(Pods, pod, "default")).raw
            chunks = [chunk async for chunk in self.cluster.logs.read(found, "pytorch", LogOptions())]
        except ApiError:
            return ""  # not there yet
        return b"".join(chunks).decode()

    async def shows(self, pod: str, pattern: str) -> re.Match[str]:
        """Wait until a pod has logged something."""
        while (found := re.search(pattern, await self.log(pod))) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        return found

    async def conditions(self) -> list[str]:
        status = (await self.cluster.client.get(Jobs, "elastic", "default")).raw.get("status") or {}
        return [c["type"] for c in status.get("conditions") or [] if c["status"] == "True"]

    async def ends(self) -> str:
        while not {"Succeeded", "Failed"} & set(await self.conditions()):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        return (await self.conditions())[-1]


@asynccontextmanager
async def held(shared: Path, hold_from: int) -> AsyncIterator[Run]:
    async with LocalCluster() as cluster, asyncio.timeout(480):
        await cluster.client.create(Jobs, a_held_job(shared, hold_from), "default")
        run = Run(cluster, shared)
        try:
            yield run
        except BaseException:
            for number in range(3):
                print(f"elastic-worker-{number}:", await run.log(f"elastic-worker-{number}"), sep="\n")
            raise


async def test_a_worker_killed_mid_training_comes_back_and_the_job_succeeds(tmp_path: Path) -> None:
    async with held(tmp_path, hold_from=3) as run:
        await run.shows("elastic-worker-0", "epoch=3 of 2 workers")
        os.kill(process_of("elastic-worker-1", str(tmp_path)), signal.SIGKILL)
        run.go_on()  # the other finds itself alone in the middle of an epoch
        await run.shows("elastic-worker-0", "of 2 trains from epoch 4 on")
        assert await run.ends() == "Succeeded"
        pod: Any = (await run.cluster.client.get(Pods, "elastic-worker-1", "default")).raw
        assert pod["status"]["containerStatuses"][0]["restartCount"] >= 1


async def test_a_job_scaled_up_mid_training_goes_on_with_more_workers(tmp_path: Path) -> None:
    async with held(tmp_path, hold_from=2) as run:
        await run.shows("elastic-worker-0", "epoch=2 of 2 workers")
        change = {"spec": {"pytorchReplicaSpecs": {"Worker": {"replicas": 3}}}}
        await run.cluster.client.patch(Jobs, "elastic", "default", change)
        await run.shows("elastic-worker-2", "of 3 trains from epoch 3 on")
        run.go_on()
        await run.shows("elastic-worker-0", "epoch=3 of 3 workers")
        assert await run.ends() == "Succeeded"
