"""The API in this process behind a wire that breaks on demand."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from kfcore.client.errors import ConnectionFailed
from kfcore.client.rest import RestClient
from kfcore.client.transport import Request, Response, Transport
from kfcore.testing import FakeClient, FakeClock


@dataclass
class BadWire:
    """A transport that answers as the server does, except for the faults that a test has planned."""

    transport: Transport
    lists: deque[Response | Exception] = field(default_factory=deque)
    streams: deque[Response | Exception] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    stalled: bool = False

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        if request.method == "GET" and self.lists:
            fault = self.lists.popleft()
            if isinstance(fault, Exception):
                raise fault
            return fault
        return await self.transport.send(request)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[tuple[Response, AsyncIterator[bytes]]]:
        self.requests.append(request)
        if self.streams:
            fault = self.streams.popleft()
            if isinstance(fault, Exception):
                raise fault
            if isinstance(fault, Response):
                yield fault, _of(fault.body)
                return
        async with self.transport.stream(request) as (response, lines):
            yield response, self._until_cut(lines)

    async def _until_cut(self, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.cut.clear()
        stalled = False  # once silent, a connection stays so
        source = aiter(lines)
        while True:
            line = asyncio.ensure_future(anext(source, None))
            cut = asyncio.ensure_future(self.cut.wait())
            try:
                await asyncio.wait([line, cut], return_when=asyncio.FIRST_COMPLETED)
                if cut.done():
                    raise ConnectionFailed("connection reset by peer")
                if (arrived := line.result()) is None:
                    return
            finally:
                line.cancel()
                cut.cancel()
            stalled = stalled or self.stalled
            if not stalled:
                yield arrived

    async def close(self) -> None:
        await self.transport.close()

    @property
    def watches(self) -> int:
        return sum("watch" in request.query for request in self.requests)

    @property
    def list_calls(self) -> int:
        return sum("watch" not in request.query for request in self.requests)


async def _of(body: bytes) -> AsyncIterator[bytes]:
    for line in body.split(b"\n"):
        if line:
            yield line


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(clock: FakeClock) -> FakeClient:
    """What somebody else uses to change objects."""
    return FakeClient(clock=clock)


@pytest.fixture
def wire(server: FakeClient) -> BadWire:
    return BadWire(server.transport)


@pytest.fixture
def client(wire: BadWire) -> RestClient:
    return RestClient(wire)
