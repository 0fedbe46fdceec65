"""Fault injection as it happens: a `Transport` around another that goes wrong by the rules of its `Faults`, and
otherwise answers as that one does. It works on any transport: in process, or over HTTP to a real server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kfcore.api.codec import encode_json
from kfcore.client.errors import ApiError, ConnectionFailed
from kfcore.client.transport import Request, Response, Transport
from kfcore.clock import Clock, SystemClock
from kfcore.testing.faults import BadWatch, Call, Fault, Faults


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
        if faults.none_for_calls:
            return await self.transport.send(request)
        call = Call.of(request)
        delay = faults.delay_of(call)
        if delay is None:
            return await self._send(request, call)
        delay.take()
        try:
            response = await self._send(request, call)
        except ConnectionFailed:
            await self._clock.sleep(delay.seconds)
            raise
        await self._clock.sleep(delay.seconds)
        return response

    async def _send(self, request: Request, call: Call) -> Response:
        rule = self.faults.failure_of(call)
        if rule is None:
            return await self.transport.send(request)
        rule.take()
        if rule.carried_out:
            await self.transport.send(request)
        return _answer(rule.fault)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[tuple[Response, AsyncIterator[bytes]]]:
        self.calls.append(request)
        call, faults = Call.of(request), self.faults
        if rule := faults.failure_of(call):
            rule.take()
            response = _answer(rule.fault)
            yield response, _lines_of(b"" if response.status >= 400 else response.body)
            return
        async with self.transport.stream(request) as (response, lines):
            bad = faults.bad_watch_of(call)
            if bad is not None:
                bad.take()
            stream = _Stream(call, faults, bad, self._clock, initial="sendInitialEvents" in request.query)
            reader = asyncio.ensure_future(stream.read(lines))
            faults.streams.add(stream)
            try:
                yield response, stream.lines()
            finally:
                faults.streams.discard(stream)
                reader.cancel()
                await asyncio.wait([reader])

    async def close(self) -> None:
        await self.transport.close()


class _Stream:
    """The lines of one watch, as they came and as they are shown."""

    def __init__(self, call: Call, faults: Faults, bad: BadWatch | None, clock: Clock, *, initial: bool) -> None:
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
                lag = None if self._initial else self._faults.lag_of(self.call)
                if lag is not None and sum(not _is_bookmark(line) for line, _ in held) <= lag.events:
                    break
                line, at = held[0]
                if lag is not None and lag.seconds and not await self._until(at + lag.seconds):
                    raise ConnectionFailed("connection reset by peer")
                held.popleft()
                if b"initial-events-end" in line:
                    self._initial = False
                shown += not _is_bookmark(line)
                yield line

    async def _until(self, due: float) -> bool:
        """Wait; False when the connection was cut meanwhile."""
        await self._clock.sleep(due - self._clock.monotonic())
        return not self._cut


def _is_bookmark(line: bytes) -> bool:
    """It tells of no event, so that no count of events has it."""
    return b'"BOOKMARK"' in line[:24]


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
