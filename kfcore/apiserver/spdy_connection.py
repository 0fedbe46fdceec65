"""SPDY/3.1 over an upgraded connection, which kubectl before 1.30 (and any with WebSockets turned off) speaks to exec,
attach and port-forward: its streams become the messages of a `Socket`, as those of a WebSocket do in `websocket.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from aiohttp import web

from kfcore.apiserver import channels, tunnel
from kfcore.apiserver.request import GOODBYE_SECONDS, Upgrade
from kfcore.apiserver.spdy import (
    FIN,
    GOAWAY,
    PING,
    RST_STREAM,
    SYN_STREAM,
    Frame,
    Reader,
    SpdyError,
    Writer,
    data_frame,
    goaway_frame,
    ping_frame,
    reset_frame,
)

PROTOCOL = "SPDY/3.1"
_VERSIONS = "X-Stream-Protocol-Version"
_PORT_FORWARD = "portforward.k8s.io"
_STREAMS = {
    "stdin": channels.STDIN, "stdout": channels.STDOUT, "stderr": channels.STDERR, "error": channels.ERROR,
    "resize": channels.RESIZE,
}  # fmt: skip
_ENDED = bytes([channels.CLOSE, channels.STDIN])
_PIECE = 64 * 1024
_AHEAD = 1024 * 1024
_OPENING_SECONDS = 30.0
"""How long a client may take to open its streams, as kubelet has it."""


class _Received:
    """What aiohttp hands over of an upgraded connection, held back at the sender when nobody takes it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._paused = False
        self._more = asyncio.Event()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._chunks.append(data)
        self._size += len(data)
        if self._size > _AHEAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._more.set()
        return False, b""

    def feed_eof(self) -> None:
        self._ended = True
        self._more.set()

    async def next(self) -> bytes | None:
        """The next bytes; None at the end."""
        while not self._chunks:
            if self._ended:
                return None
            self._more.clear()
            await self._more.wait()
        chunk = self._chunks.popleft()
        self._size -= len(chunk)
        if self._paused and self._size < _AHEAD // 2:
            self._paused = False
            with suppress(RuntimeError):  # closed in the meantime
                self._transport.resume_reading()
        return chunk


class _Connection:
    """The connection as a `Socket` of bytes: what kubectl's port-forward needs, whose frames `tunnel.py` reads."""

    protocol = tunnel.PROTOCOL

    def __init__(self, received: _Received, response: web.StreamResponse) -> None:
        self._received = received
        self._response = response

    async def receive(self) -> bytes | None:
        return await self._received.next()

    async def send(self, message: bytes) -> None:
        await self._response.write(message)


class _Streams:
    """The streams of an exec as a `Socket` whose messages begin with the number of their channel."""

    protocol = channels.PROTOCOLS[-1]

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._reader = Reader()
        self._writer = Writer()
        self._frames: deque[Frame] = deque()
        self._channels: dict[int, int] = {}
        self._open: dict[int, int] = {}
        self._early: deque[bytes] = deque()

    async def opened(self, expected: frozenset[int]) -> bool:
        """Wait for the client to open its streams, as a process may end before: False when it does not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_OPENING_SECONDS):
                while not expected <= self._open.keys():
                    message = await self._next()
                    if message is None or sum(map(len, self._early)) > _AHEAD:
                        return False
                    if message:
                        self._early.append(message)
                return True
        return False

    async def receive(self) -> bytes | None:
        if self._early:
            return self._early.popleft()
        while (message := await self._next()) == b"":
            pass
        return message

    async def _next(self) -> bytes | None:
        """The message that the next frame makes, empty when it makes none; None at the end."""
        while not self._frames:
            data = await self._connection.receive()
            if data is None:
                return None
            try:
                self._frames.extend(self._reader.feed(data))
            except SpdyError:
                return None
        return await self._take(self._frames.popleft())

    async def _take(self, frame: Frame) -> bytes | None:
        match frame.type:
            case None:
                channel = self._channels.get(frame.stream)
                if channel == channels.STDIN and not frame.data:
                    return _ENDED if frame.flags & FIN else b""
                if channel == channels.STDIN and frame.flags & FIN:
                    self._frames.appendleft(Frame(None, frame.stream, FIN))
                return bytes([channel]) + frame.data if channel is not None and frame.data else b""
            case t if t == SYN_STREAM:
                await self._opened(frame)
            case t if t == PING:
                await self._connection.send(ping_frame(frame.stream))
            case t if t == RST_STREAM:
                return _ENDED if self._channels.get(frame.stream) == channels.STDIN else b""
            case t if t == GOAWAY:
                return None
        return b""

    async def _opened(self, frame: Frame) -> None:
        channel = _STREAMS.get(frame.headers.get("streamtype", ""))
        if channel is None or channel in self._open:
            await self._connection.send(reset_frame(frame.stream))
            return
        self._channels[frame.stream] = channel
        self._open[channel] = frame.stream
        await self._connection.send(self._writer.reply(frame.stream))

    async def send(self, message: bytes) -> None:
        stream = self._open[message[0]]
        for start in range(1, len(message), _PIECE):
            await self._connection.send(data_frame(stream, message[start : start + _PIECE]))

    async def goodbye(self) -> None:
        """End every stream, and give the client time to read what they hold."""
        for channel in (channels.STDOUT, channels.STDERR, channels.ERROR):
            if (stream := self._open.get(channel)) is not None:
                await self._connection.send(data_frame(stream, b"", last=True))
        await self._connection.send(goaway_frame())
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                while await self._connection.receive() is not None:
                    pass


async def converse(http: web.BaseRequest, upgrade: Upgrade) -> web.StreamResponse:
    """Hold the conversation of `upgrade` over the connection of `http`."""
    offered = [version.strip() for line in http.headers.getall(_VERSIONS, []) for version in line.split(",")]
    spoken = (_PORT_FORWARD,) if tunnel.PROTOCOL in upgrade.protocols else (_Streams.protocol,)
    version = next((version for version in spoken if version in offered), None)
    if version is None:
        why = f"unable to negotiate protocol: client supports {offered}, server accepts {list(spoken)}"
        return web.Response(status=403, text=f"unable to upgrade: {why}")
    transport = http.transport
    assert isinstance(transport, asyncio.Transport)
    received = _Received(transport)
    http.protocol.set_parser(received)  # type: ignore[arg-type]
    headers = {"Connection": "Upgrade", "Upgrade": PROTOCOL, _VERSIONS: version}
    response = web.StreamResponse(status=101, headers=headers)
    await response.prepare(http)
    response.force_close()
    connection = _Connection(received, response)
    try:
        if version == _PORT_FORWARD:
            await upgrade.converse(connection)
        else:
            streams = _Streams(connection)
            if await streams.opened(upgrade.channels):
                await upgrade.converse(streams)
                await streams.goodbye()
    except OSError:
        pass  # the client went away
    finally:
        transport.close()
    return response
