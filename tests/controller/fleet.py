"""A small operator for tests of faults: a Fleet wants `size` Pods, and its status says how many there are."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, owner_reference, untyped
from kfcore.api.resource import Resource
from kfcore.client.errors import AlreadyExists, NotFound
from kfcore.client.interface import Client, Preconditions
from kfcore.controller.controller import Request, Result
from kfcore.controller.manager import Manager
from kfcore.testing import FakeClient, schemaless_crd

RESOURCE = Resource("tests.example.com", "v1", "Fleet", "fleets", subresources=frozenset({"status"}))
Fleet = untyped(RESOURCE)


def a_fleet(name: str, size: int) -> Manifest:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"size": size}}


def pod_names(fleet: str, size: int) -> list[str]:
    return [f"{fleet}-{number}" for number in range(size)]


def serve_fleets(client: FakeClient) -> None:
    client.server.install_crd(schemaless_crd(RESOURCE))


class FleetReconciler:
    """Reads from the cache, writes through the client."""

    def __init__(self, manager: Manager) -> None:
        self._cache = manager.cache
        self._client: Client = manager.client
        self._recorder = manager.recorder("fleets")

    @classmethod
    def add_to(cls, manager: Manager, **options: Any) -> FleetReconciler:
        reconciler = cls(manager)
        manager.add_controller(reconciler, Fleet, owns=[Pod], **options)
        return reconciler

    async def reconcile(self, request: Request) -> Result | None:
        try:
            fleet = await self._cache.get(Fleet, request.name, request.namespace)
        except NotFound:
            return None
        wanted = pod_names(fleet.name, fleet.raw["spec"]["size"])
        existing = {pod.name: pod for pod in await self._cache.list_owned(Pod, fleet)}
        missing = [name for name in wanted if name not in existing]
        if missing and not await self._still_there(fleet):
            return None
        for name in missing:
            await self._create(fleet, name)
        for name, pod in existing.items():
            if name not in wanted:
                await self._delete(pod)
        if fleet.raw.get("status", {}).get("pods") != len(wanted):
            fresh = await self._client.get(Fleet, fleet.name, fleet.namespace)
            changed = Fleet({**fresh.raw, "status": {"pods": len(wanted)}})
            await self._client.update(changed, subresource="status")
        return None

    async def _still_there(self, fleet: Any) -> bool:
        """The cache may show a fleet that is deleted, and its pods gone with it: those must not be made again."""
        try:
            there = await self._client.get(Fleet, fleet.name, fleet.namespace)
        except NotFound:
            return False
        return there.metadata.uid == fleet.metadata.uid and there.metadata.deletion_timestamp is None

    async def _create(self, fleet: Any, name: str) -> None:
        metadata = {"name": name, "ownerReferences": [owner_reference(fleet)]}
        spec = {"containers": [{"name": "main", "image": "none"}]}
        try:
            await self._client.create(Pod, {"metadata": metadata, "spec": spec}, fleet.namespace)
        except AlreadyExists:
            there = await self._client.get(Pod, name, fleet.namespace)
            if not any(reference.uid == fleet.metadata.uid for reference in there.metadata.owner_references):
                raise
        else:
            self._recorder.normal(fleet, "Created", f"pod {name} was created")

    async def _delete(self, pod: Pod) -> None:
        very_pod = Preconditions(uid=pod.metadata.uid)
        with suppress(NotFound):
            await self._client.delete(Pod, pod.name, pod.namespace, preconditions=very_pod, grace_period_seconds=0)
