"""GPUs of this machine, as pods get them: a machine of two, for nvidia-smi says so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from patience import eventually, text_of

from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, untyped
from kfcore_local.cluster import LocalCluster

POD = untyped(Pod.resource)


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho '0, GPU-aaa'\necho '1, GPU-bbb'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def a_pod(name: str, folder: Path, gpus: int = 1) -> Manifest:
    """It writes down what it sees, and runs until somebody says that it is enough."""
    script = (
        f'echo "[$CUDA_VISIBLE_DEVICES]" > {folder}/{name}; while [ ! -e {folder}/end-{name} ]; do sleep 0.05; done'
    )
    container: Manifest = {"name": "main", "image": "any", "command": ["sh", "-c", script]}
    if gpus:
        container["resources"] = {"limits": {"nvidia.com/gpu": gpus}}
    # The directory is the machine's own also where pods have files of their own.
    container["volumeMounts"] = [{"name": "here", "mountPath": str(folder)}]
    volumes = [{"name": "here", "hostPath": {"path": str(folder)}}]
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 0}
    return {"metadata": {"name": name}, "spec": spec}


@pytest.mark.usefixtures("two_gpus")
async def test_each_pod_gets_devices_of_its_own_and_one_that_finds_none_waits(tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    folder.mkdir()

    async def seen(name: str) -> str:
        async def read() -> str:
            return text_of(folder / name).strip()

        return await eventually(read, f"{name} has written what it sees")

    async def message(client: Any, name: str) -> str:
        async def read() -> str:
            conditions = (await client.get(POD, name, "default")).raw["status"].get("conditions") or []
            return next((str(item["message"]) for item in conditions if item["status"] == "False"), "")

        return await eventually(read, f"{name} is told why it waits")

    async with LocalCluster(without=["operator"]) as cluster:
        for name, gpus in (("first", 1), ("second", 1), ("none", 0)):
            await cluster.client.create(POD, a_pod(name, folder, gpus), "default")
        devices = {await seen("first"), await seen("second")}
        assert devices == {"[0]", "[1]"}
        assert await seen("none") == "[]"
        await cluster.client.create(POD, a_pod("third", folder), "default")
        assert "1 Insufficient nvidia.com/gpu" in await message(cluster.client, "third")
        (folder / "end-first").touch()
        assert await seen("third") == await seen("first")
