"""Fault injection: a `Transport` around another that goes wrong by the rules of its `Faults`, and otherwise answers as
the one it wraps. It works on any transport: in process, or over HTTP to a real server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from kfcore.api.codec import encode_json
from kfcore.api.meta import Object
from kfcore.client.errors import ApiError, ConnectionFailed
from kfcore.client.transport import Request, Response, Transport
from kfcore.clock import Clock, SystemClock

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]
Fault = ApiError | ConnectionFailed | Response

_VERBS: dict[str, tuple[Verb, Verb]] = {  # of a collection, of an object
    "GET": ("list", "get"),
    "POST": ("create", "create"),
    "PUT": ("update", "update"),
    "PATCH": ("patch", "patch"),
    "DELETE": ("deletecollection", "delete"),
}


@dataclass(frozen=True, slots=True)
class Call:
    """What a request means: the verb that RBAC knows, and the object."""

    verb: Verb
    base_path: str
    plural: str
    namespace: str
    name: str
    subresource: str

    @classmethod
    def of(cls, request: Request) -> Call:
        parts = request.path.strip("/").split("/")
        head = 2 if parts[0] == "api" else 3
        base, tail = "/" + "/".join(parts[:head]), parts[head:]
        namespace = ""
        if len(tail) > 2 and tail[0] == "namespaces" and tail[2] not in ("status", "finalize"):
            namespace, tail = tail[1], tail[2:]
        plural, name, subresource = (*tail, "", "", "")[:3]
        verb = _VERBS[request.method][bool(name)]
        if request.query.get("watch") == "true":
            verb = "watch"
        return cls(verb, base, plural, namespace, name, subresource)


@dataclass(slots=True)
class Rule:
    """One fault and the calls that it befalls. `hits` counts them; `left` says how many it is still for (None: all)."""

    verb: Verb | None
    kind: type[Object] | None
    name: str | None
    left: int | None
    hits: int = 0

    def __post_init__(self) -> None:
        if self.left is not None and self.left < 1:
            raise ValueError(f"a fault {self.left} times: expected at least once, or None for always")

    def stop(self) -> None:
        """No further call goes wrong by this rule."""
        self.left = 0

    def _befalls(self, call: Call) -> bool:
        if self.left == 0 or (self.verb and self.verb != call.verb) or (self.name and self.name != call.name):
            return False
        if self.kind is not None:
            resource = self.kind.resource
            if (resource.plural, resource.base_path) != (call.plural, call.base_path):
                return False
        return True

    def _take(self) -> None:
        self.hits += 1
        if self.left is not None:
            self.left -= 1


@dataclass(slots=True)
class _Failure(Rule):
    fault: Fault = field(default_factory=lambda: ConnectionFailed("connection reset by peer"))
    carried_out: bool = False


@dataclass(slots=True)
class _Delay(Rule):
    seconds: float = 0.0


@dataclass(slots=True)
class _BadWatch(Rule):
    after: int = 0
    does: Literal["breaks", "ends", "stalls", "says"] = "breaks"
    lines: tuple[bytes, ...] = ()


@dataclass(slots=True)
class _Lag(Rule):
    events: int = 0
    seconds: float = 0.0


class Faults:
    """The rules. Of several that befall a call, the oldest is used up first; `clear` ends all.

    `kind` (None: any) and `name` limit a rule to some objects, `times` (None: always) to so many calls.
    """

    def __init__(self) -> None:
        self._failures: list[_Failure] = []
        self._delays: list[_Delay] = []
        self._watches: list[_BadWatch] = []
        self._lags: list[_Lag] = []
        self._open: set[_Stream] = set()

    def fail(
        self,
        verb: Verb | None,
        kind: type[Object] | None = None,
        fault: Fault | None = None,
        *,
        name: str | None = None,
        times: int | None = 1,
        carried_out: bool = False,
    ) -> Rule:
        """Answer a call with an error (`Conflict("…")`), a raw `Response`, or (None) a broken connection.

        With `carried_out`, the server does what was asked and only the answer is lost.
        """
        failure = fault if fault is not None else ConnectionFailed("connection reset by peer")
        rule = _Failure(verb, kind, name, times, fault=failure, carried_out=carried_out)
        self._failures.append(rule)
        return rule

    def delay(
        self,
        verb: Verb | None,
        kind: type[Object] | None = None,
        *,
        seconds: float,
        name: str | None = None,
        times: int | None = 1,
    ) -> Rule:
        """Have the answer of a call, not of a watch, take so long; the server does at once what was asked."""
        if seconds <= 0:
            raise ValueError(f"a delay of {seconds:g} seconds: expected more than 0")
        rule = _Delay(verb, kind, name, times, seconds=seconds)
        self._delays.append(rule)
        return rule

    def break_watch(self, kind: type[Object] | None = None, *, after: int = 0, times: int | None = 1) -> Rule:
        """Reset the connection of a watch that is opened from now on, after so many events (bookmarks don't count)."""
        return self._bad_watch(_BadWatch("watch", kind, None, times, after=after, does="breaks"))

    def end_watch(self, kind: type[Object] | None = None, *, after: int = 0, times: int | None = 1) -> Rule:
        """Close a watch in good order after so many events, as servers do when its time is over."""
        return self._bad_watch(_BadWatch("watch", kind, None, times, after=after, does="ends"))

    def stall_watch(self, kind: type[Object] | None = None, *, after: int = 0, times: int | None = 1) -> Rule:
        """Keep a watch's connection open and say nothing any more, after so many events."""
        return self._bad_watch(_BadWatch("watch", kind, None, times, after=after, does="stalls"))

    def garble_watch(
        self, kind: type[Object] | None = None, *lines: bytes, after: int = 0, times: int | None = 1
    ) -> Rule:
        """Say `lines` (without line feeds) on a watch after so many events: garbage, an ERROR event."""
        return self._bad_watch(_BadWatch("watch", kind, None, times, after=after, does="says", lines=lines))

    def lag(self, kind: type[Object] | None = None, *, events: int = 0, seconds: float = 0.0) -> Rule:
        """Have watches, those open already too, show each event only when `events` more have come and `seconds` have
        passed, until the rule is stopped. What a streaming list begins with is not held back.
        """
        if events < 0 or seconds < 0 or not (events or seconds):
            raise ValueError(f"a lag of {events} events and {seconds:g} seconds: expected one of them above 0")
        rule = _Lag("watch", kind, None, None, events=events, seconds=seconds)
        self._lags.append(rule)
        return rule

    def cut(self, kind: type[Object] | None = None) -> None:
        """Reset the connections of all watches that are open now."""
        for stream in tuple(self._open):
            if kind is None or kind.resource.plural == stream.call.plural:
                stream.cut()

    def stall(self, kind: type[Object] | None = None) -> None:
        """Have all watches that are open now say nothing any more."""
        for stream in tuple(self._open):
            if kind is None or kind.resource.plural == stream.call.plural:
                stream.stalled = True

    def clear(self) -> None:
        """Forget every rule; watches that stall go on stalling."""
        for rule in (*self._failures, *self._delays, *self._watches, *self._lags):
            rule.stop()
        self._failures, self._delays, self._watches, self._lags = [], [], [], []

    def _bad_watch(self, rule: _BadWatch) -> Rule:
        self._watches.append(rule)
        return rule

    def _failure(self, call: Call) -> _Failure | None:
        return next((rule for rule in self._failures if rule._befalls(call)), None)


class FaultyTransport:
    """`transport`, except for what `faults` plans. `calls` lists every request, the failed ones included."""

    def __init__(self, transport: Transport, *, clock: Clock | None = None, faults: Faults | None = None) -> None:
        self.transport = transport
        self.faults = faults or Faults()
        self.calls: list[Request] = []
        self._clock = clock or SystemClock()

    async def send(self, request: Request) -> Response:
        self.calls.append(request)
        faults = self.faults
        if not (faults._failures or faults._delays):
            return await self.transport.send(request)
        call = Call.of(request)
        delay = next((rule for rule in faults._delays if rule._befalls(call)), None)
        if delay is None:
            return await self._send(request, call)
        delay._take()
        try:
            response = await self._send(request, call)
        except ConnectionFailed:
            await self._clock.sleep(delay.seconds)
            raise
        await self._clock.sleep(delay.seconds)
        return response

    async def _send(self, request: Request, call: Call) -> Response:
        rule = self.faults._failure(call)
        if rule is None:
            return await self.transport.send(request)
        rule._take()
        if rule.carried_out:
            await self.transport.send(request)
        return _answer(rule.fault)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[tuple[Response, AsyncIterator[bytes]]]:
        self.calls.append(request)
        call, faults = Call.of(request), self.faults
        if rule := faults._failure(call):
            rule._take()
            response = _answer(rule.fault)
            yield response, _lines_of(b"" if response.status >= 400 else response.body)
            return
        async with self.transport.stream(request) as (response, lines):
            bad = next((rule for rule in faults._watches if rule._befalls(call)), None)
            if bad is not None:
                bad._take()
            stream = _Stream(call, faults, bad, self._clock, initial="sendInitialEvents" in request.query)
            reader = asyncio.ensure_future(stream.read(lines))
            faults._open.add(stream)
            try:
                yield response, stream.lines()
            finally:
                faults._open.discard(stream)
                reader.cancel()
                await asyncio.wait([reader])

    async def close(self) -> None:
        await self.transport.close()


class _Stream:
    """The lines of one watch, as they came and as they are shown."""

    def __init__(self, call: Call, faults: Faults, bad: _BadWatch | None, clock: Clock, *, initial: bool) -> None:
        self.call = call
        self.stalled = False
        self._faults = faults
        self._bad = bad
        self._clock = clock
        self._initial = initial
        self._arrived: asyncio.Queue[tuple[bytes, float] | Exception | None] = asyncio.Queue()
        self._cut = False

    def cut(self) -> None:
        self._cut = True
        self._arrived.put_nowait(ConnectionFailed("connection reset by peer"))

    async def read(self, lines: AsyncIterator[bytes]) -> None:
        try:
            async for line in lines:
                self._arrived.put_nowait((line, self._clock.monotonic()))
        except (ConnectionFailed, ApiError) as error:
            self._arrived.put_nowait(error)
        else:
            self._arrived.put_nowait(None)

    async def lines(self) -> AsyncIterator[bytes]:
        shown, held = 0, deque[tuple[bytes, float]]()
        while True:
            if self._bad is not None and shown >= self._bad.after:
                match self._bad.does:
                    case "breaks":
                        raise ConnectionFailed("connection reset by peer")
                    case "ends":
                        return
                    case "stalls":
                        self.stalled = True
                    case "says":
                        for line in self._bad.lines:
                            yield line
                self._bad = None
            arrived = await self._arrived.get()
            if arrived is None:
                return
            if isinstance(arrived, Exception):
                raise arrived
            if self.stalled:
                continue
            held.append(arrived)
            while held:
                lag = None if self._initial else self._lag()
                if lag is not None and len(held) <= lag.events:
                    break
                line, at = held[0]
                if lag is not None and lag.seconds and not await self._until(at + lag.seconds):
                    raise ConnectionFailed("connection reset by peer")
                held.popleft()
                if b"initial-events-end" in line:
                    self._initial = False
                if b'"BOOKMARK"' not in line[:24]:
                    shown += 1
                yield line

    def _lag(self) -> _Lag | None:
        lags = self._faults._lags
        return next((rule for rule in lags if rule._befalls(self.call)), None) if lags else None

    async def _until(self, due: float) -> bool:
        """Wait; False when the connection was cut meanwhile."""
        await self._clock.sleep(due - self._clock.monotonic())
        return not self._cut


def _answer(fault: Fault) -> Response:
    if isinstance(fault, Response):
        return fault
    if isinstance(fault, ApiError):
        return Response(fault.status.code, encode_json(fault.status), {"content-type": "application/json"})
    raise fault


async def _lines_of(body: bytes) -> AsyncIterator[bytes]:
    for line in body.split(b"\n"):
        if line:
            yield line
