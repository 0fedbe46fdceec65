"""Creating and deleting what a job owns, in one reconcile: in slow-start batches, by idempotent names, only what is
really the job's, and with one event for all creations of a kind rather than one for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import structlog

from kfcore.api.meta import Manifest, Object, ServerObject, controller_of
from kfcore.client.errors import AlreadyExists, ApiError, Conflict, ConnectionFailed, NotFound
from kfcore.client.interface import Client, Preconditions
from kfcore.jobs.expectations import Expectations

log = structlog.get_logger(__name__)

SOON, LATER = 1.0, 10.0
"""Seconds until another try when a name is taken: by a pod of ours on its way out, or by somebody else's object."""

T = TypeVar("T")


class Recorder(Protocol):
    """What `kfcore.controller.events.EventRecorder` offers."""

    def normal(self, obj: Object, reason: str, message: str) -> None: ...

    def warning(self, obj: Object, reason: str, message: str) -> None: ...


@dataclass(slots=True)
class OwnedObjects:
    """The writes of one reconcile of `job` to the pods and services that it owns."""

    client: Client
    recorder: Recorder
    job: Object
    monotonic: Callable[[], float]
    expectations: Expectations | None = None
    retry_after: float | None = None
    _done: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    async def create(self, kind: type[ServerObject], manifests: Sequence[Manifest]) -> None:
        """Create objects concurrently. What is there already and ours counts as created.

        Raises the first error of the server after recording it; the batches after it are not tried.
        """
        await slow_start(manifests, lambda manifest: self._create(kind, manifest))

    async def _create(self, kind: type[ServerObject], manifest: Manifest) -> None:
        name = manifest["metadata"]["name"]
        try:
            created = await self.client.create(kind, manifest, self.job.namespace)
        except AlreadyExists:
            await self._take(kind, name)
            return
        except (ApiError, ConnectionFailed) as error:
            self.recorder.warning(self.job, f"FailedCreate{kind.resource.kind}", f"Error creating: {error}")
            raise
        self._note("Create", kind, name)
        if self.expectations is not None:
            self.expectations.created(self.job.key, created.metadata.uid, self.monotonic())

    async def _take(self, kind: type[ServerObject], name: str) -> None:
        """See whose the object is that stands in the way; the cache may only be late."""
        try:
            found: ServerObject = await self.client.get(kind, name, self.job.namespace)
        except NotFound:
            return self._retry(SOON)
        owner = controller_of(found)
        ours = owner is not None and owner.uid == self.job.metadata.uid
        if found.metadata.deletion_timestamp is not None:
            return self._retry(SOON)
        if not ours:
            message = f'Error creating: {kind.resource.plural} "{name}" already exists and is not owned by this job'
            self.recorder.warning(self.job, f"FailedCreate{kind.resource.kind}", message)
            return self._retry(LATER)
        if self.expectations is not None:
            self.expectations.created(self.job.key, found.metadata.uid, self.monotonic())
        return None

    async def delete(self, objects: Iterable[ServerObject]) -> None:
        """Delete these very objects, concurrently; those that are gone or going are left alone."""
        doomed = [obj for obj in objects if obj.metadata.deletion_timestamp is None]
        await slow_start(doomed, self._delete)

    async def _delete(self, obj: ServerObject) -> None:
        kind = type(obj)
        try:
            await self.client.delete(kind, obj.name, obj.namespace, preconditions=Preconditions(uid=obj.metadata.uid))
        except (NotFound, Conflict):
            return  # gone, or another object by now
        except (ApiError, ConnectionFailed) as error:
            self.recorder.warning(self.job, f"FailedDelete{kind.resource.kind}", f"Error deleting: {error}")
            raise
        self._note("Delete", kind, obj.name)
        if self.expectations is not None:
            self.expectations.deleted(self.job.key, obj.metadata.uid, self.monotonic())

    def announce(self) -> None:
        """Record what was done: one event for each kind and verb."""
        for (verb, kind), names in self._done.items():
            noun = kind.lower() + ("s" if len(names) > 1 else "")
            self.recorder.normal(self.job, f"Successful{verb}{kind}", f"{verb}d {noun}: {', '.join(sorted(names))}")
            log.info(
                f"{kind.lower()}s.{verb.lower()}d",
                kind=self.job.resource.kind,
                namespace=self.job.namespace,
                name=self.job.name,
                names=sorted(names),
            )
        self._done.clear()

    def _note(self, verb: str, kind: type[Object], name: str) -> None:
        self._done.setdefault((verb, kind.resource.kind), []).append(name)

    def _retry(self, seconds: float) -> None:
        self.retry_after = min(seconds, self.retry_after or seconds)


async def slow_start(items: Sequence[T], action: Callable[[T], Awaitable[Any]]) -> None:
    """Act on 1, 2, 4 … items at a time, so that what cannot work fails once, not a thousand times.

    Raises the first error of a batch once the whole batch is through.
    """
    start, size = 0, 1
    while start < len(items):
        batch = items[start : start + size]
        if len(batch) == 1:
            await action(batch[0])
        else:
            # Not a TaskGroup: one failure must not cut off its neighbours in the middle of a request.
            results = await asyncio.gather(*(action(item) for item in batch), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        start, size = start + size, size * 2
