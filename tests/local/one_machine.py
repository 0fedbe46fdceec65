"""A kubelet and a scheduler over the in-process API, and what tests of pods with real processes ask of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from patience import PATIENCE, eventually

from kfcore.api.core import Event, Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.api.resource import Resource
from kfcore.apiserver.logs import LogOptions
from kfcore.client.errors import ApiError
from kfcore.clock import Clock
from kfcore.testing.client import FakeClient
from kfcore_local.kubelet import Kubelet
from kfcore_local.scheduler import Scheduler

POD = untyped(Pod.resource)
EVENT = untyped(Event.resource)
CONFIG_MAP = untyped(Resource("", "v1", "ConfigMap", "configmaps"))
SECRET = untyped(Resource("", "v1", "Secret", "secrets"))
FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.01; done"


def until_told(on_term: str = "exit 0") -> str:
    """A script that says `up` once it is prepared for SIGTERM, and then runs until it comes."""
    return f"trap '{on_term}' TERM; echo up; while :; do sleep 0.01; done"


class Machine:
    def __init__(self, root: Path, clock: Clock) -> None:
        self.client = FakeClient(clock=clock)
        self.kubelet = Kubelet(self.client, node_name="here", root=root, clock=clock)

    async def run(self, *command: str, **spec: Any) -> str:
        """Create a pod with one container; its name."""
        return await self.create(a_pod("pod", a_container(*command), **spec))

    async def create(self, manifest: Manifest) -> str:
        created = await self.client.create(POD, manifest)
        return created.name

    async def until(self, name: str, state: Callable[[Manifest], object]) -> Manifest:
        """The pod as soon as `state` holds for it."""
        events: Any = self.client.watch(POD, "default", resource_version="0")
        pod: Manifest = {}
        try:
            async with asyncio.timeout(PATIENCE), aclosing(events):
                async for event in events:
                    if event.object.name == name and event.type != "DELETED":
                        pod = dict(event.object.raw)
                        if state(pod):
                            return pod
        except TimeoutError:
            raise AssertionError(f"not within {PATIENCE:g} s; {name} is {pod.get('status')}") from None
        raise AssertionError("the watch ended")

    async def until_phase(self, name: str, phase: str) -> Manifest:
        return await self.until(name, lambda pod: pod.get("status", {}).get("phase") == phase)

    async def until_waiting(self, name: str, reason: str) -> Manifest:
        """The first container's waiting state, once it has that reason."""

        def waiting(pod: Manifest) -> Manifest:
            statuses = pod.get("status", {}).get("containerStatuses") or [{}]
            return statuses[0].get("state", {}).get("waiting") or {}

        return waiting(await self.until(name, lambda pod: waiting(pod).get("reason") == reason))

    async def until_deleted(self, name: str, resource_version: str) -> None:
        events: Any = self.client.watch(POD, "default", resource_version=resource_version)
        async with asyncio.timeout(PATIENCE), aclosing(events):
            async for event in events:
                if event.object.name == name and event.type == "DELETED":
                    return

    async def log(self, name: str, container: str = "main", **options: Any) -> str:
        pod = (await self.client.get(POD, name, "default")).raw
        chunks = [chunk async for chunk in self.kubelet.read(pod, container, LogOptions(**options))]
        return b"".join(chunks).decode()

    async def until_up(self, name: str, container: str = "main") -> None:
        """Once a container has said so in its log."""

        async def is_up() -> bool:
            try:
                return "up\n" in await self.log(name, container)
            except ApiError:  # it has not come to it
                return False

        await eventually(is_up, f"{container} of {name} is up")

    async def events(self, reason: str) -> list[str]:
        await self.kubelet.flush_events()
        return [event.message for event in await self.client.list(Event) if event.reason == reason]


@asynccontextmanager
async def running(root: Path, clock: Clock) -> AsyncIterator[Machine]:
    machine = Machine(root, clock)
    tasks = [
        asyncio.create_task(machine.kubelet.run()),
        asyncio.create_task(Scheduler(machine.client, clock=clock).run()),
    ]
    try:
        yield machine
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def a_container(*command: str, name: str = "main", **fields: Any) -> Manifest:
    return {"name": name, "image": "an-image", "command": list(command), **fields}


def a_pod(name: str, *containers: Manifest, **spec: Any) -> Manifest:
    spec = {"restartPolicy": "Never", **spec}
    return {"metadata": {"name": name, "labels": {"app": "test"}}, "spec": {**spec, "containers": list(containers)}}


def terminated(pod: Manifest) -> Manifest:
    return dict(pod["status"]["containerStatuses"][0]["state"]["terminated"])


def condition(pod: Manifest, type_: str) -> str:
    return str(next(c["status"] for c in pod["status"]["conditions"] if c["type"] == type_))
