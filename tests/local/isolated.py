"""A cluster whose pods have namespaces of their own, and what its tests ask of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from one_machine import POD, a_container, a_pod
from patience import eventually

from kfcore.api.meta import Manifest, untyped
from kfcore.api.resource import Resource
from kfcore.apiserver.logs import LogOptions
from kfcore_local.cluster import LocalCluster
from kfcore_local.isolation.choose import start_hub
from kfcore_local.isolation.mode import Isolation

SERVICE = untyped(Resource("", "v1", "Service", "services"))


async def _look() -> tuple[str, bool]:
    """Why there are no namespaces here, if so, and whether connections can be redirected in them."""
    with tempfile.TemporaryDirectory() as base:
        hub, why = await start_hub(Isolation.AUTO, Path(base) / "hub")
        if hub is None:
            return why, False
        await hub.stop()
        return "", hub.any_port


WHY_NOT, REDIRECTS = asyncio.run(_look())
needs_namespaces = pytest.mark.skipif(bool(WHY_NOT), reason=f"this machine permits no namespaces: {WHY_NOT}")


class Pods:
    """The pods of a cluster."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.client = cluster.client

    async def start(self, name: str, *command: str, labels: dict[str, str] | None = None, **spec: Any) -> str:
        """A pod that runs, and its address. Keys of its container may be in `spec` as `container`."""
        await self.create(name, *command, labels=labels, **spec)
        pod = await self.until(name, lambda pod: pod.get("status", {}).get("phase") == "Running")
        return str(pod["status"]["podIP"])

    async def create(self, name: str, *command: str, labels: dict[str, str] | None = None, **spec: Any) -> None:
        container = a_container(*command, **spec.pop("container", {}))
        manifest = a_pod(name, container, **{"terminationGracePeriodSeconds": 0, **spec})
        manifest["metadata"]["labels"] = labels or {}
        await self.client.create(POD, manifest)

    async def said(self, script: str, name: str = "asks", **spec: Any) -> str:
        """What a shell says that runs `script` in a pod of its own to the end."""
        await self.create(name, "sh", "-c", script, **spec)
        await self.until(name, lambda pod: pod.get("status", {}).get("phase") in ("Succeeded", "Failed"))
        return await self.log(name)

    async def log(self, name: str) -> str:
        pod = (await self.client.get(POD, name, "default")).raw
        return b"".join([chunk async for chunk in self.cluster.logs.read(pod, "main", LogOptions())]).decode()

    async def until(self, name: str, state: Callable[[Manifest], object]) -> Manifest:
        pod: Manifest = {}

        async def is_so() -> bool:
            nonlocal pod
            pod = dict((await self.client.get(POD, name, "default")).raw)
            return bool(state(pod))

        try:
            await eventually(is_so)
        except AssertionError as error:
            raise AssertionError(f"{error}; pod {name} is {pod.get('status')}") from None
        return pod

    async def service(self, name: str, app: str, port: int = 80, **spec: Any) -> None:
        ports = [{"port": port, "targetPort": spec.pop("target", port)}]
        body = {"metadata": {"name": name}, "spec": {"selector": {"app": app}, "ports": ports, **spec}}
        await self.client.create(SERVICE, body, "default")


@asynccontextmanager
async def isolated_cluster(**options: Any) -> AsyncIterator[Pods]:
    async with LocalCluster(isolation=Isolation.POD, without=["operator"], **options) as cluster:
        yield Pods(cluster)
