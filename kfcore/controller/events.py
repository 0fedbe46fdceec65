"""The recorder of Kubernetes Events: what a controller tells the user who types `kubectl describe`.

Recording never waits and never fails. What was recorded is gathered per event, thinned out as client-go does it, and
written by `run` in the background: one request however often it happened meanwhile, and only so many a second.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Generic, TypeVar

import msgspec
import structlog

from kfcore.api.core import Event
from kfcore.api.meta import Manifest, Object, rfc3339
from kfcore.client.errors import AlreadyExists, ApiError, ConnectionFailed, NotFound
from kfcore.client.interface import Client
from kfcore.clock import Clock, SystemClock
from kfcore.controller.event_backlog import MAX_MESSAGE, Backlog, Series, told_together
from kfcore.controller.rate_limit import TokenBucket

log = structlog.get_logger(__name__)

# client-go's rules: https://pkg.go.dev/k8s.io/client-go/tools/record#CorrelatorOptions
SIMILAR_SECONDS = 600.0
SIMILAR_MESSAGES = 10
BURST = 25
REFILL_PER_SECOND = 1 / 300
REMEMBERED = 4096
TRIES = 3

WRITES_AT_ONCE, WRITES_PER_SECOND = 30, 10.0
"""How many Events a recorder writes: they are worth less than the requests that they would hold up."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Similar(msgspec.Struct):
    """The different messages of one reason for one object."""

    last: float
    messages: set[str] = msgspec.field(default_factory=set)


class EventRecorder:
    """Records Events in the name of `component`."""

    def __init__(self, client: Client, component: str, clock: Clock | None = None) -> None:
        self.component = component
        self.lost = 0
        self.thinned_out = 0
        self._client = client
        self._clock = clock or SystemClock()
        self._similar: _Recent[Hashable, _Similar] = _Recent(REMEMBERED)
        self._series: _Recent[Hashable, Series] = _Recent(REMEMBERED)
        self._buckets: _Recent[Hashable, TokenBucket] = _Recent(REMEMBERED)
        self._backlog = Backlog()
        self._writes = TokenBucket(self._clock, WRITES_PER_SECOND, WRITES_AT_ONCE)
        self._wake = asyncio.Event()
        self._last_suffix = 0

    def normal(self, obj: Object, reason: str, message: str) -> None:
        """Something that belongs to the usual course. `reason` is one CamelCase word."""
        self._record(obj, "Normal", reason, message)

    def warning(self, obj: Object, reason: str, message: str) -> None:
        """Something that a user may have to act on."""
        self._record(obj, "Warning", reason, message)

    async def run(self) -> None:
        """Write what is recorded, until cancelled; what is left then, `flush` writes."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._backlog:
                if wait := self._writes.wait():
                    await self._clock.sleep(wait)
                await self._write_next()

    async def flush(self) -> None:
        """Write everything that was recorded so far, at once."""
        while self._backlog:
            await self._write_next()

    async def _write_next(self) -> None:
        batch = self._backlog.take(together=len(self._backlog) > self._writes.left)
        self._writes.take()
        series = batch[0]
        if len(batch) > 1:
            series = told_together(batch)
            for told in batch:
                self._series.forget(told.key)  # should it happen again, it is an Event of its own
        try:
            await self._write(series)
        except asyncio.CancelledError:
            self._backlog.add(series)
            raise

    def _record(self, obj: Object, type_: str, reason: str, message: str) -> None:
        involved = _reference(obj)
        identity = (obj.resource.kind, obj.namespace, obj.name, obj.metadata.uid)
        bucket = self._buckets.get(identity, lambda: TokenBucket(self._clock, REFILL_PER_SECOND, BURST))
        if not bucket.take():
            self.thinned_out += 1
            return
        now = self._clock.now()
        key, message = self._combine((*identity, type_, reason), message[:MAX_MESSAGE])
        series = self._series.get(
            key,
            lambda: Series(identity, key, involved, obj.namespace or "default", type_, reason, message, now, now),
        )
        series.message = message
        series.last = now
        series.count += 1
        self._backlog.add(series)
        self._wake.set()

    def _combine(self, group: tuple[str, ...], message: str) -> tuple[Hashable, str]:
        """The key of the Event to count, and its message: beyond some messages of one reason, one Event for all."""
        now = self._clock.monotonic()
        similar = self._similar.get(group, lambda: _Similar(now))
        if now - similar.last > SIMILAR_SECONDS:
            similar.messages.clear()
        similar.last = now
        similar.messages.add(message)
        if len(similar.messages) > SIMILAR_MESSAGES:
            similar.messages.pop()
            return group, f"(combined from similar events): {message}"[:MAX_MESSAGE]
        return (*group, message), message

    async def _write(self, series: Series) -> None:
        for attempt in range(TRIES):
            count = series.count
            try:
                await self._send(series, count)
            except NotFound as error:
                if not series.name:
                    self._give_up(series, error)  # the namespace is gone
                    return
                series.name = series.proposed = ""  # the server has forgotten the Event meanwhile: make a new one
            except ApiError as error:
                if error.status.code != 429 and error.status.code < 500:
                    self._give_up(series, error)
                    return
                if attempt + 1 == TRIES:
                    self._give_up(series, error)
                    return
                await self._clock.sleep(error.retry_after or 2.0**attempt)
            except ConnectionFailed as error:
                if attempt + 1 == TRIES:
                    self._give_up(series, error)
                    return
                await self._clock.sleep(2.0**attempt)
            else:
                series.written = count
                return

    async def _send(self, series: Series, count: int) -> None:
        if series.name:
            change = {"count": count, "lastTimestamp": _seconds(series.last), "message": series.message}
            await self._client.patch(Event, series.name, series.namespace, change)
        else:
            series.proposed = name = series.proposed or self._name(series)
            with suppress(AlreadyExists):  # it was made, and the answer lost
                await self._client.create(Event, self._manifest(series, name, count), series.namespace)
            series.name = name

    def _give_up(self, series: Series, error: Exception) -> None:
        self.lost += series.count - series.written
        series.written = series.count
        log.warning(
            "event.lost",
            object=f"{series.involved['kind']} {series.namespace}/{series.involved['name']}",
            reason=series.reason,
            error=f"{type(error).__name__}: {error}",
        )

    def _name(self, series: Series) -> str:
        """Unique: the object's name and the nanoseconds of now, never the same twice."""
        nanoseconds = int(self._clock.now().timestamp() * 1_000_000) * 1000
        self._last_suffix = max(nanoseconds, self._last_suffix + 1)
        return f"{series.involved['name'][:230]}.{self._last_suffix:x}"

    def _manifest(self, series: Series, name: str, count: int) -> Manifest:
        return {
            "metadata": {"name": name, "namespace": series.namespace},
            "involvedObject": series.involved,
            "type": series.type,
            "reason": series.reason,
            "message": series.message,
            "count": count,
            "firstTimestamp": _seconds(series.first),
            "lastTimestamp": _seconds(series.last),
            "source": {"component": self.component},
            "reportingComponent": self.component,
            "reportingInstance": "",
        }


class _Recent(Generic[K, V]):
    """A mapping that forgets what was not used for longest."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = make()
            if len(self._values) > self._size:
                self._values.popitem(last=False)
        else:
            self._values.move_to_end(key)
        return value

    def forget(self, key: K) -> None:
        self._values.pop(key, None)


def _reference(obj: Object) -> Manifest:
    fields = {
        "apiVersion": obj.resource.api_version,
        "kind": obj.resource.kind,
        "name": obj.name,
        "namespace": obj.namespace,
        "uid": obj.metadata.uid,
        "resourceVersion": obj.metadata.resource_version,
    }
    return {name: value for name, value in fields.items() if value}


def _seconds(time: datetime) -> str:
    return rfc3339(time.astimezone(UTC).replace(microsecond=0))
