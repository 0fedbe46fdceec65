"""Creating and deleting what a job owns, in one reconcile: in slow-start batches, by idempotent names, only what is
really the job's, and with one event for all creations of a kind rather than one for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from kfcore.api.meta import Manifest, Object, ServerObject, controller_of, owner_reference, untyped
from kfcore.client.errors import AlreadyExists, ApiError, Conflict, ConnectionFailed, Invalid, NotFound
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


class OwnedObjects(msgspec.Struct):
    """The writes of one reconcile of `job` to the pods and services that it owns."""

    client: Client
    recorder: Recorder
    job: Object
    monotonic: Callable[[], float]
    expectations: Expectations | None = None
    retry_after: float | None = None
    _done: dict[tuple[str, str], list[str]] = msgspec.field(default_factory=dict)

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
            await self._take(kind, name, manifest["metadata"]["labels"])
            return
        except (ApiError, ConnectionFailed) as error:
            self.recorder.warning(self.job, f"FailedCreate{kind.resource.kind}", f"Error creating: {error}")
            raise
        self._note("Create", kind, name)
        if self.expectations is not None:
            self.expectations.created(self.job, created.metadata.uid, self.monotonic())

    async def _take(self, kind: type[ServerObject], name: str, labels: dict[str, str]) -> None:
        """See whose the object is that stands in the way; the cache may only be late."""
        try:
            found: ServerObject = await self.client.get(kind, name, self.job.namespace)
        except NotFound:
            return self._retry(SOON)
        if found.metadata.deletion_timestamp is not None:
            return self._retry(SOON)
        owner = controller_of(found)
        if owner is None and await self._adopt(found, labels):
            owner = controller_of(found := await self.client.get(kind, name, self.job.namespace))
        reason = ""
        if owner is None or owner.uid != self.job.metadata.uid:
            reason = "is not owned by this job"
        elif not labels.items() <= found.metadata.labels.items():
            reason = "lacks labels of this replica"
        if reason:
            message = f'Error creating: {kind.resource.plural} "{name}" already exists and {reason}'
            self.recorder.warning(self.job, f"FailedCreate{kind.resource.kind}", message)
            return self._retry(LATER)
        if self.expectations is not None:
            self.expectations.created(self.job, found.metadata.uid, self.monotonic())
        return None

    async def _adopt(self, orphan: ServerObject, labels: dict[str, str]) -> bool:
        """Make an object that nobody controls the job's, if it has all labels of ours; whether it is that now."""
        if not labels.items() <= orphan.metadata.labels.items():
            return False
        job = await self.client.get(untyped(self.job.resource), self.job.name, self.job.namespace)
        if job.metadata.uid != self.job.metadata.uid or job.metadata.deletion_timestamp is not None:
            return False
        owners = [msgspec.to_builtins(owner) for owner in orphan.metadata.owner_references]
        metadata = {"uid": orphan.metadata.uid, "ownerReferences": [*owners, owner_reference(self.job)]}
        try:
            await self.client.patch(type(orphan), orphan.name, orphan.namespace, {"metadata": metadata})
        except (NotFound, Conflict, Invalid):
            return False  # gone, or somebody else's by now
        log.info("orphan.adopted", kind=orphan.resource.kind, namespace=orphan.namespace, name=orphan.name)
        return True

    async def delete(self, objects: Iterable[ServerObject]) -> None:
        """Delete these very objects, concurrently; those that are gone or going are left alone."""
        doomed = [obj for obj in objects if obj.metadata.deletion_timestamp is None]
        await slow_start(doomed, self._delete)

    async def force_delete(self, objects: Iterable[ServerObject]) -> None:
        """Remove these very objects at once, without anybody's confirmation."""
        await slow_start(list(objects), lambda obj: self._delete(obj, 0))

    async def _delete(self, obj: ServerObject, grace_period_seconds: int | None = None) -> None:
        kind, uid = type(obj), Preconditions(uid=obj.metadata.uid)
        try:
            await self.client.delete(
                kind, obj.name, obj.namespace, preconditions=uid, grace_period_seconds=grace_period_seconds
            )
        except (NotFound, Conflict):
            return  # gone, or another object by now
        except (ApiError, ConnectionFailed) as error:
            self.recorder.warning(self.job, f"FailedDelete{kind.resource.kind}", f"Error deleting: {error}")
            raise
        self._note("Delete", kind, obj.name)
        if self.expectations is not None:
            self.expectations.deleted(self.job, obj.metadata.uid, self.monotonic())

    @property
    def is_seen_soon(self) -> bool:
        """Whether the cache is about to show what was created here, which is a reason to look at the job again."""
        created = any(verb == "Create" for verb, _ in self._done)
        return created and self.expectations is not None and self.retry_after is None

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
