"""One kind, kept up to date and announced: reflectors come in, a `Store` holds, subscribers are told.

What a subscriber sees, per key:

- The store shows a change before the subscriber hears of it, and changes of one key come in the order that the server
  made them. Changes of different keys have no order that means anything.
- `old` of a change is `new` of the change before it: a chain without gaps that starts with an addition and ends with a
  deletion. A deletion carries the object's last state, or, when the watch was down meanwhile, the last one seen. An
  object that was deleted and made again is a deletion and an addition, even when nobody saw it happen.
- States may be skipped while the watch is down; the last state is always delivered, and no deletion is ever lost.
- Nothing is said twice: an object that has not changed since (same resource version) is not announced, except to a
  new subscriber and by `resync`, which are marked `replay`.
- A subscriber is a plain function that must return quickly and may not raise. Objects are shared: it may not change
  them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from kfcore.api.meta import Object
from kfcore.cache.reflector import EVERYTHING, PATIENT, Patience, Reflector, Selection
from kfcore.cache.store import Store
from kfcore.client.interface import Client
from kfcore.clock import Clock

T = TypeVar("T", bound=Object)


class Change(msgspec.Struct, Generic[T], frozen=True):
    """What happened to one object: added (no `old`), changed, or deleted (no `new`).

    `replay` says that it is not news: the start-up list, a late subscription, or a resync.
    """

    old: T | None
    new: T | None
    replay: bool = False

    @property
    def object(self) -> T:
        """The object now, or as it was last."""
        obj = self.new if self.new is not None else self.old
        assert obj is not None
        return obj


Subscriber = Callable[[Change[T]], None]


class Informer(Generic[T]):
    """The objects of `kind` in the given namespaces (None: all), for any number of readers and subscribers."""

    def __init__(
        self,
        client: Client,
        kind: type[T],
        *,
        clock: Clock,
        namespaces: Sequence[str] | None = None,
        selection: Selection = EVERYTHING,
        resync_seconds: float | None = None,
        patience: Patience = PATIENT,
        streaming_list: bool = True,
    ) -> None:
        self.kind = kind
        self.store: Store[T] = Store()
        self._clock = clock
        self._resync_seconds = resync_seconds
        self._subscribers: list[Subscriber[T]] = []
        self._synced = asyncio.Event()
        self._listed: set[str | None] = set()
        where: Sequence[str | None] = namespaces if namespaces and kind.resource.namespaced else [None]
        self._reflectors = [
            Reflector(
                client,
                kind,
                self,
                clock=clock,
                namespace=namespace,
                selection=selection,
                patience=patience,
                streaming_list=streaming_list,
            )
            for namespace in where
        ]

    @property
    def synced(self) -> bool:
        """Whether everything has been listed once."""
        return self._synced.is_set()

    @property
    def resource_version(self) -> str:
        """How far the store is, as the server's resource version (of the first namespace, where there are several)."""
        return self._reflectors[0].resource_version

    @property
    def missing(self) -> list[tuple[str | None, Exception | None]]:
        """The namespaces that have not been listed yet (None: all), and what went wrong when it was tried last."""
        return [
            (reflector.namespace, reflector.last_error)
            for reflector in self._reflectors
            if reflector.namespace not in self._listed
        ]

    def subscribe(self, subscriber: Subscriber[T]) -> None:
        """Tell `subscriber` of every object that is there, and of every change from now on."""
        for obj in self.store.list():
            subscriber(Change(None, obj, True))
        self._subscribers.append(subscriber)

    async def wait_for_sync(self) -> None:
        await self._synced.wait()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors:
                group.create_task(reflector.run())
            if self._resync_seconds:
                group.create_task(self._resync(self._resync_seconds))

    async def _resync(self, seconds: float) -> None:
        while True:
            await self._clock.sleep(seconds)
            for obj in self.store.list():
                self._tell(Change(obj, obj, True))

    # ── what the reflectors say ──────────────────────────────────────────────────────────────────────────────────────

    def replace(self, objects: Sequence[T], namespace: str | None) -> None:
        replay = namespace not in self._listed
        listed = {(obj.metadata.namespace, obj.metadata.name) for obj in objects}
        for old in self.store.list(namespace):
            if (old.metadata.namespace, old.metadata.name) not in listed:
                self.delete(old)
        for obj in objects:
            self._set(obj, replay)
        self._listed.add(namespace)
        if len(self._listed) == len(self._reflectors):
            self._synced.set()

    def set(self, obj: T) -> None:
        self._set(obj, False)

    def _set(self, obj: T, replay: bool) -> None:
        old, _ = self.store.set(obj)
        if old is not None:
            before, after = old.metadata, obj.metadata
            if before.uid != after.uid:
                self._tell(Change(old, None, replay))
                old = None
            elif before.resource_version == after.resource_version:
                return
        for subscriber in self._subscribers:
            subscriber(Change(old, obj, replay))

    def delete(self, obj: T) -> None:
        metadata = obj.metadata
        if self.store.delete(metadata.namespace, metadata.name) is not None:
            self._tell(Change(obj, None))

    def _tell(self, change: Change[T]) -> None:
        for subscriber in self._subscribers:
            subscriber(change)
