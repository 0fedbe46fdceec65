"""A Notebook, its operator in a manager, and a test that plays the workload controllers and the kubelet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kfcore.api.core import Event
from kfcore.api.core import Pod as CorePod
from kfcore.api.meta import Manifest, Unstructured, untyped
from kfcore.client.errors import NotFound
from kfcore.controller.manager import Manager
from kfcore.jobs.options import OperatorOptions
from kfcore.testing import FakeClient, FakeClock, settle
from kfcore.testing.client import schemaless_crd
from kfcore_notebook import Notebook, NotebookController
from kfcore_notebook.activity import Servers
from kfcore_notebook.children import Service, StatefulSet, VirtualService
from kfcore_notebook.settings import NotebookSettings
from kfcore_notebook.setup import set_up

NOTEBOOKS = untyped(Notebook.resource)
PODS = untyped(CorePod.resource)
NAMESPACE = "team"


def a_notebook(name: str = "nb", *, annotations: dict[str, str] | None = None, **container: Any) -> Manifest:
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Notebook",
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": annotations or {}},
        "spec": {"template": {"spec": {"containers": [{"name": name, "image": "jupyter:1", **container}]}}},
    }


class Cluster:
    """What a test sees and does."""

    def __init__(self, settings: NotebookSettings) -> None:
        self.clock = FakeClock()
        self.client = FakeClient(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, clock=self.clock
        )
        self.settings = settings
        if settings.use_istio:
            self.client.server.install_crd(schemaless_crd(VirtualService.resource))

    @asynccontextmanager
    async def operator(self, servers: Servers | None = None) -> AsyncIterator[Manager]:
        manager = Manager(self.client, clock=self.clock)
        set_up(NotebookController, manager, OperatorOptions(), self.settings, servers)
        running = asyncio.create_task(manager.run())
        try:
            await self.rest()
            yield manager
        finally:
            manager.stop()
            await settle()
            while not running.done():  # what is in work has its grace period
                await self.clock.advance(1)
            await running

    async def rest(self, seconds: float = 1.0) -> None:
        """Let everything happen that is due."""
        await settle()
        await self.clock.advance(seconds)
        await settle()

    async def create(self, *manifests: Manifest) -> None:
        for manifest in manifests:
            await self.client.create(NOTEBOOKS, manifest)
        await self.rest()

    async def set_annotation(self, key: str, value: str | None, name: str = "nb") -> None:
        await self.client.patch(NOTEBOOKS, name, NAMESPACE, {"metadata": {"annotations": {key: value}}})
        await self.rest()

    async def pod_runs(self, name: str = "nb", *, ready: str = "True", containers: tuple[str, ...] = ()) -> None:
        """What the StatefulSet's controller and the kubelet would do."""
        labels = {"notebook-name": name, "statefulset": name}
        spec = {"containers": [{"name": part, "image": "x"} for part in containers or (name,)]}
        try:
            await self.client.get(PODS, f"{name}-0", NAMESPACE)
        except NotFound:
            await self.client.create(
                PODS, {"metadata": {"name": f"{name}-0", "labels": labels}, "spec": spec}, NAMESPACE
            )
        moment = self.clock.now().isoformat().replace("+00:00", "Z")
        state = {"running": {"startedAt": moment}}
        statuses = [
            {"name": part, "image": "x", "imageID": "", "ready": True, "restartCount": 0, "state": state}
            for part in containers or (name,)
        ]
        conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": moment}]
        status = {"phase": "Running", "conditions": conditions, "containerStatuses": statuses}
        await self.client.patch(PODS, f"{name}-0", NAMESPACE, {"status": status}, subresource="status")
        ready_replicas = {"replicas": 1, "readyReplicas": int(ready == "True")}
        await self.client.patch(StatefulSet, name, NAMESPACE, {"status": ready_replicas}, subresource="status")
        await self.rest()

    async def pod_goes(self, name: str = "nb") -> None:
        await self.client.delete(PODS, f"{name}-0", NAMESPACE, grace_period_seconds=0)
        await self.rest()

    async def event_of(
        self, kind: str, name: str, message: str, event: str = "e1", reason: str = "FailedCreate"
    ) -> None:
        body = {
            "metadata": {"name": event},
            "involvedObject": {"apiVersion": "v1", "kind": kind, "name": name, "namespace": NAMESPACE},
            "type": "Warning",
            "reason": reason,
            "message": message,
            "count": 1,
        }
        await self.client.create(Event, body, NAMESPACE)
        await self.rest()

    async def notebook(self, name: str = "nb") -> Manifest:
        return (await self.client.get(NOTEBOOKS, name, NAMESPACE)).raw

    async def annotations(self, name: str = "nb") -> dict[str, str]:
        found: dict[str, str] = (await self.notebook(name))["metadata"].get("annotations") or {}
        return found

    async def status(self, name: str = "nb") -> Manifest:
        found: Manifest = (await self.notebook(name)).get("status") or {}
        return found

    async def condition(self, type_: str, name: str = "nb") -> Manifest:
        conditions = (await self.status(name)).get("conditions") or []
        return next((condition for condition in conditions if condition["type"] == type_), {})

    async def stateful_set(self, name: str = "nb") -> Manifest:
        return (await self.client.get(StatefulSet, name, NAMESPACE)).raw

    async def virtual_service(self, name: str = "nb") -> Manifest:
        return (await self.client.get(VirtualService, f"notebook-{NAMESPACE}-{name}", NAMESPACE)).raw

    async def service(self, name: str = "nb") -> Unstructured:
        return await self.client.get(Service, name, NAMESPACE)

    async def events(self, name: str = "nb") -> list[Event]:
        return [event for event in await self.client.list(Event, NAMESPACE) if event.involved_object.name == name]

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.client.requests if method != "GET"]
