"""What was asked for and not yet seen: after a write, a job waits until the cache shows it, so that a stale cache never
makes the controller act twice. Lost with the process, which then starts from a fresh list anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from kfcore.api.meta import Object

PATIENCE = 30.0
"""Seconds after which an expectation is dropped: deterministic names and uid preconditions keep a mistake harmless."""

T = TypeVar("T", bound=Object)


class _Expected(msgspec.Struct):
    job: str
    until: float
    created: set[str] = msgspec.field(default_factory=set)
    deleted: set[str] = msgspec.field(default_factory=set)


class Expectations:
    """Of each job: the uids that must appear in the cache, and those that must go or be marked as going. What a former
    job of the name waited for is of no concern to the present one.
    """

    def __init__(self) -> None:
        self._expected: dict[str, _Expected] = {}

    def created(self, job: Object, uid: str, now: float) -> None:
        self._entry(job, now).created.add(uid)

    def deleted(self, job: Object, uid: str, now: float) -> None:
        entry = self._entry(job, now)
        entry.created.discard(uid)
        entry.deleted.add(uid)

    def pending(self, job: Object, seen: Iterable[Object], now: float) -> float:
        """For how many seconds the job should at most wait for the cache; 0 when it shows everything."""
        entry = self._expected.get(job.key)
        if entry is None:
            return 0
        present = {obj.metadata.uid: obj.metadata.deletion_timestamp is None for obj in seen}
        entry.created -= present.keys()
        entry.deleted = {uid for uid in entry.deleted if present.get(uid, False)}
        if (entry.created or entry.deleted) and now < entry.until and entry.job == job.metadata.uid:
            return entry.until - now
        del self._expected[job.key]
        return 0

    def forget(self, key: str) -> None:
        self._expected.pop(key, None)

    def _entry(self, job: Object, now: float) -> _Expected:
        entry = self._expected.get(job.key)
        if entry is None or entry.job != job.metadata.uid:
            entry = self._expected[job.key] = _Expected(job.metadata.uid, now)
        entry.until = now + PATIENCE
        return entry


class LastWritten(Generic[T]):
    """The answer to the last status write of each object, in place of a read that does not show the write yet."""

    def __init__(self) -> None:
        self._written: dict[str, tuple[frozenset[str], T]] = {}

    def remember(self, read: T, written: T) -> None:
        """`written` came of a patch of `read`, which may itself be what was written before."""
        before = self._written.get(read.key)
        version = read.metadata.resource_version
        older = before[0] if before is not None and before[1].metadata.resource_version == version else frozenset()
        self._written[read.key] = (older | {version}, written)

    def newest(self, read: T) -> T:
        """`read`, or what was written over exactly this version of it."""
        entry = self._written.get(read.key)
        if entry is None:
            return read
        versions, written = entry
        if read.metadata.resource_version in versions and written.metadata.uid == read.metadata.uid:
            return written
        del self._written[read.key]
        return read

    def is_shown_by(self, read: T) -> bool:
        """Whether `read` is what was written last; then that need not be remembered any longer."""
        entry = self._written.get(read.key)
        if entry is None:
            return False
        written = entry[1].metadata
        if (written.uid, written.resource_version) != (read.metadata.uid, read.metadata.resource_version):
            return False
        del self._written[read.key]
        return True

    def forget(self, key: str) -> None:
        self._written.pop(key, None)
