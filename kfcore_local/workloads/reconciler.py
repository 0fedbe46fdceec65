"""What the controllers of workloads share: a workload is read from the cache, brought closer to what it asks for,
and its status is written where it differs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from kfcore.api.meta import Manifest, ServerObject
from kfcore.client.errors import NotFound
from kfcore.client.interface import Client, Reader
from kfcore.clock import Clock
from kfcore.controller.controller import Request, Result
from kfcore.controller.events import EventRecorder
from kfcore.jobs.expectations import LastWritten
from kfcore_local.workloads.status import write_status

W = TypeVar("W", bound=ServerObject)


class WorkloadReconciler(ABC, Generic[W]):
    """A subclass says which `kind` it is for, and how to `sync` one."""

    kind: ClassVar[type[ServerObject]]

    def __init__(self, client: Client, reader: Reader, recorder: EventRecorder, clock: Clock) -> None:
        self.client = client
        self.reader = reader
        self.recorder = recorder
        self.clock = clock
        self._written: LastWritten[W] = LastWritten()
        """A status counts on from what it was, also where the cache does not show it yet."""

    async def reconcile(self, request: Request) -> Result:
        try:
            found = await self.reader.get(self.kind, request.name, request.namespace)
        except NotFound:
            self._written.forget(request.key)
            return Result()
        return await self.sync(self._written.newest(found))  # type: ignore[arg-type] # `kind` is of W

    @abstractmethod
    async def sync(self, owner: W) -> Result:
        """Bring about what `owner` asks for."""

    async def write_status(self, owner: W, status: Manifest) -> None:
        written = await write_status(self.client, owner, status)
        if written is not owner:
            self._written.remember(owner, written)
