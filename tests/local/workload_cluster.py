"""A cluster of an API server, a clock and the workload controllers; the test plays the kubelet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from kfcore.api.core import Event
from kfcore.api.meta import Manifest, rfc3339, untyped
from kfcore.client import transport
from kfcore.controller.controller import Request
from kfcore.controller.manager import Manager
from kfcore.testing import FakeClient, FakeClock
from kfcore_local.workloads import add_workload_controllers
from kfcore_local.workloads.kinds import Pod

LABELS = {"app": "web"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "one"}]}}


def workload(kind: str, name: str = "web", **spec: Any) -> Manifest:
    group = "batch/v1" if kind == "Job" else "apps/v1"
    selected = {} if kind == "Job" else {"selector": {"matchLabels": LABELS}}
    return {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**selected, "template": TEMPLATE, **spec},
    }


class NoPods:
    """A transport to a server that refuses new pods, as a quota or an admission webhook does."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    async def send(self, request: transport.Request) -> transport.Response:
        if (request.method, request.path) == ("POST", "/api/v1/namespaces/default/pods"):
            refusal = {"kind": "Status", "status": "Failure", "message": "exceeded quota", "code": 403}
            return transport.Response(403, json.dumps({**refusal, "reason": "Forbidden"}).encode())
        return await self.transport.send(request)

    def stream(self, request: transport.Request) -> Any:
        return self.transport.stream(request)

    async def close(self) -> None:
        await self.transport.close()


class Cluster:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.client = FakeClient(clock=self.clock)
        self.manager = Manager(self.client, clock=self.clock)
        add_workload_controllers(self.manager)

    async def settle(self) -> None:
        for _ in range(3):
            await self.clock.advance(0)

    async def create(self, kind: Any, manifest: Manifest) -> None:
        await self.client.create(untyped(kind.resource), manifest, "default")
        await self.settle()

    async def patch(self, kind: Any, name: str, body: Manifest) -> None:
        await self.client.patch(kind, name, "default", body)
        await self.settle()

    async def get(self, kind: Any, name: str) -> Manifest:
        return (await self.client.get(untyped(kind.resource), name, "default")).raw

    async def names(self, kind: Any) -> list[str]:
        return [obj.name for obj in await self.client.list(kind, "default")]

    async def pods(self) -> list[Pod]:
        return list(await self.client.list(Pod, "default"))

    async def play_kubelet(self, *names: str, ready: bool = True, ip: str = "") -> None:
        """Run the named pods, or all that wait for it."""
        for pod in await self.pods():
            if (pod.name not in names) if names else pod.status.phase not in ("", "Pending"):
                continue
            now = rfc3339(self.clock.now())
            condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": now}
            status = {"phase": "Running", "conditions": [condition], **({"podIP": ip} if ip else {})}
            await self.client.patch(Pod, pod.name, "default", {"status": status}, subresource="status")
        await self.settle()

    async def end(self, name: str, exit_code: int) -> None:
        """Let a pod's container end."""
        terminated = {"exitCode": exit_code, "finishedAt": rfc3339(self.clock.now())}
        status = {
            "phase": "Failed" if exit_code else "Succeeded",
            "conditions": [],
            "containerStatuses": [
                {
                    "name": "c",
                    "ready": False,
                    "restartCount": 0,
                    "image": "one",
                    "imageID": "",
                    "state": {"terminated": terminated},
                }
            ],
        }
        await self.client.patch(Pod, name, "default", {"status": status}, subresource="status")
        await self.settle()

    @contextmanager
    def no_pods(self) -> Iterator[None]:
        """Refuse new pods in the block."""
        original = self.client.transport
        self.client.transport = NoPods(original)
        try:
            yield
        finally:
            self.client.transport = original

    async def finish_deletions(self) -> None:
        """Let the pods that were told to end be gone, as a kubelet does in the end."""
        for pod in await self.pods():
            if pod.metadata.deletion_timestamp:
                await self.client.delete(Pod, pod.name, "default", grace_period_seconds=0)
        await self.settle()

    async def events(self, kind: str) -> list[tuple[str, str]]:
        for component in ("replicaset", "deployment", "statefulset", "job"):
            await self.manager.recorder(f"{component}-controller").flush()
        events = await self.client.list(Event, "default")
        return [(event.reason, event.message) for event in events if event.involved_object.kind == kind]

    async def writes_of(self, controller: str, *names: str) -> list[tuple[str, str]]:
        """The requests that change something, of one more reconcile of the named objects."""
        [reconciler] = [each.reconciler for each in self.manager.controllers if each.name == controller]
        before = len(self.client.requests)
        for name in names:
            await reconciler.reconcile(Request("default", name))
        return [(method, path) for method, path in self.client.requests[before:] if method != "GET"]


@asynccontextmanager
async def a_cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    running = asyncio.create_task(cluster.manager.run())
    await cluster.settle()
    try:
        yield cluster
    finally:
        cluster.manager.stop()
        await cluster.settle()
        await running


def reasons(conditions: list[Manifest]) -> dict[str, tuple[str, str]]:
    """Conditions as type → (status, reason)."""
    return {item["type"]: (item["status"], item.get("reason", "")) for item in conditions}
