"""Lists and watches one kind, forever: what the API server says comes in, a `Sink` is told; it holds no objects.

A list is the beginning of a watch where the server streams lists, else it comes in pages. Every fault ends in the same
way: wait a little, then go on from the last resource version, or, when the server no longer has it, list again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec
import structlog
from pydantic import ValidationError

from kfcore.api.codec import load
from kfcore.api.meta import CustomResource, Object, Unstructured, untyped
from kfcore.cache.watchdog import Watchdog
from kfcore.client.errors import ApiError, BadRequest, ConnectionFailed, Gone, Invalid, InvalidObject, NotFound
from kfcore.client.interface import Client, WatchEvent
from kfcore.client.selectors import FieldSelector, LabelSelector
from kfcore.clock import Clock

T = TypeVar("T", bound=Object)
T_contra = TypeVar("T_contra", bound=Object, contravariant=True)

log = structlog.get_logger(__name__)

# Events handled in a row before other tasks get a turn: a few milliseconds.
BURST = 256

# The annotation of the bookmark that ends a streaming list.
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Selection(msgspec.Struct, frozen=True):
    """Which objects of a kind are wanted; without selectors, all."""

    label_selector: LabelSelector | str | None = None
    field_selector: FieldSelector | str | None = None


class Patience(msgspec.Struct, frozen=True):
    """How long a reflector waits, in seconds. A watch is renewed within `watch_min` and `watch_max` by the server, and
    by the client when nothing, not even a bookmark (about one a minute), came for `idle`. A kind that the server does
    not know is asked for every `unserved`: whoever creates its CRD wants it to work then.
    """

    watch_min: float = 300
    watch_max: float = 600
    idle: float = 150
    backoff_min: float = 0.8
    backoff_max: float = 30
    unserved: float = 0.6


EVERYTHING = Selection()
PATIENT = Patience()


class Sink(Protocol[T_contra]):
    """Whom a reflector tells."""

    def replace(self, objects: Sequence[T_contra], namespace: str | None) -> None:
        """These are all objects of the namespace (None: of all namespaces)."""

    def set(self, obj: T_contra) -> None:
        """The object was added or changed."""

    def delete(self, obj: T_contra) -> None:
        """The object, in its last state, is gone."""


class NoStreamingList(Exception):
    """The server does not begin a watch with a list."""


class Reflector(Generic[T]):
    """Keeps a sink equal to the server's objects of `kind` in `namespace` (None: all).

    `streaming_list` off: lists in pages, without trying to stream first.
    """

    def __init__(
        self,
        client: Client,
        kind: type[T],
        sink: Sink[T],
        *,
        clock: Clock,
        namespace: str | None = None,
        selection: Selection = EVERYTHING,
        patience: Patience = PATIENT,
        streaming_list: bool = True,
    ) -> None:
        self._client = client
        self._kind = kind
        # A custom resource that its type refuses must not hide the others, so they come as plain JSON.
        self._wire_kind: type[Any] = untyped(kind.resource) if issubclass(kind, CustomResource) else kind
        self._sink = sink
        self._clock = clock
        self.namespace = namespace
        self._selection = selection
        self._patience = patience
        self._streaming_list = streaming_list
        self._failures = 0
        self.resource_version = ""
        self.last_error: Exception | None = None

    async def run(self) -> None:
        while True:
            try:
                if not self.resource_version and not self._streaming_list:
                    await self._list()
                await self._watch()
            except NoStreamingList as why:
                self._streaming_list = False
                log.debug("cache.lists_in_pages", kind=self._kind.resource.kind, why=str(why))
            except Gone as error:
                self.resource_version = ""
                await self._recover(error)
            except InvalidObject as error:
                if self._wire_kind is not self._kind:
                    await self._recover(error)
                else:  # from now on object by object, so that this one does not hide the others
                    self._wire_kind = untyped(self._kind.resource)
            except (ApiError, ConnectionFailed, TimeoutError) as error:
                await self._recover(error)

    async def _list(self) -> None:
        objects = await self._client.list(
            self._wire_kind,
            self.namespace,
            label_selector=self._selection.label_selector,
            field_selector=self._selection.field_selector,
        )
        self._sink.replace([self._read(obj) for obj in objects], self.namespace)
        self.resource_version = objects.resource_version
        self.last_error = None

    async def _watch(self) -> None:
        patience = self._patience
        listing = not self.resource_version
        events = self._client.watch(
            self._wire_kind,
            self.namespace,
            resource_version=self.resource_version,
            label_selector=self._selection.label_selector,
            field_selector=self._selection.field_selector,
            send_initial_events=listing,
            timeout_seconds=int(random.uniform(patience.watch_min, patience.watch_max)),
        )
        started = self._clock.monotonic()
        received = 0
        async with Watchdog(self._clock, patience.idle) as watchdog, aclosing(cast("Any", events)):
            if listing:
                await self._receive_list(events, watchdog)
            async for event in events:
                watchdog.feed()
                received += 1
                if received % BURST == 0:
                    await asyncio.sleep(0)  # lines that have arrived already come without a pause
                self._tell(event)
                if self._failures:
                    self._failures, self.last_error = 0, None
        if not received and self._clock.monotonic() - started < 1:
            # A server, or a proxy, that accepts watches and closes them at once.
            raise ConnectionFailed(f"the watch of {self._kind.resource.qualified_plural} was closed at once")
        self._failures = 0

    def _tell(self, event: WatchEvent[Any]) -> None:
        obj = event.object
        match event.type:
            case "ADDED" | "MODIFIED":
                self._sink.set(self._read(obj))
            case "DELETED":
                self._sink.delete(self._read(obj))
        self.resource_version = obj.metadata.resource_version

    async def _receive_list(self, events: AsyncIterator[WatchEvent[Any]], watchdog: Watchdog) -> None:
        """What a streaming list begins with: every object, then a bookmark. Raises `NoStreamingList`."""
        objects: dict[tuple[str, str], T] = {}
        try:
            async for event in events:
                watchdog.feed()
                metadata = event.object.metadata
                if event.type == "BOOKMARK":
                    if metadata.annotations.get(INITIAL_EVENTS_END) == "true":
                        self._sink.replace(list(objects.values()), self.namespace)
                        self.resource_version = metadata.resource_version
                        self.last_error = None
                        return
                elif event.type == "DELETED":
                    objects.pop((metadata.namespace, metadata.name), None)
                else:
                    objects[metadata.namespace, metadata.name] = self._read(event.object)
                if len(objects) % BURST == 0:
                    await asyncio.sleep(0)
        except (Invalid, BadRequest) as error:
            raise NoStreamingList(str(error)) from error
        raise NoStreamingList("the watch ended before the list was complete")

    def _read(self, obj: Any) -> T:
        """An object as the kind asked for; one that cannot be read so stays plain JSON, and `Cache.get` says why."""
        if self._wire_kind is self._kind or not isinstance(obj, Unstructured):
            return cast("T", obj)
        try:
            return load(self._kind, obj.raw)
        except (ValidationError, msgspec.ValidationError) as error:
            log.warning("cache.object_invalid", kind=self._kind.resource.kind, object=obj.key, error=str(error))
            return cast("T", obj)

    async def _recover(self, error: Exception) -> None:
        self._failures += 1
        self.last_error = error
        if isinstance(error, Gone) and self._failures == 1:
            return  # nothing is wrong: the watch was away for longer than the server remembers
        patience = self._patience
        unserved = isinstance(error, NotFound)
        if unserved:
            delay = patience.unserved
        else:
            delay = min(patience.backoff_min * 2.0 ** min(self._failures - 1, 16), patience.backoff_max)
        delay *= random.uniform(0.5, 1.0)
        if isinstance(error, ApiError) and error.retry_after:
            delay = max(delay, error.retry_after * random.uniform(1.0, 1.2))
        if not unserved or self._failures % 100 == 1:
            log.warning(
                "cache.watch_interrupted",
                kind=self._kind.resource.kind,
                namespace=self.namespace,
                error=f"{type(error).__name__}: {error}",
                retry_seconds=round(delay, 2),
                lists_again=not self.resource_version,
            )
        await self._clock.sleep(delay)
