"""kubectl's port-forward: SPDY inside a WebSocket. Each connection that kubectl accepts is a pair of streams, one for
its bytes and one for why it failed, told apart and paired by their headers.
"""

from __future__ import annotations

import asyncio

import msgspec

from kfcore.apiserver.channels import Connect, Socket
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
    ping_frame,
    reset_frame,
)

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
_CONNECTIONS = 1024
_PIECE = 64 * 1024
_AHEAD = 16


class _Pair(msgspec.Struct):
    """The two streams of one connection, as far as they have come."""

    port: int
    error: int = 0
    data: int = 0
    sent: asyncio.Queue[bytes] = msgspec.field(default_factory=lambda: asyncio.Queue(_AHEAD))
    task: asyncio.Task[None] | None = None
    writer: asyncio.StreamWriter | None = None
    given_up: bool = False

    def give_up(self) -> None:
        """End the connection to the pod at once."""
        self.given_up = True
        if self.writer is not None:
            self.writer.transport.abort()


class _Tunnel:
    def __init__(self, socket: Socket, connect: Connect, group: asyncio.TaskGroup) -> None:
        self._socket = socket
        self._connect = connect
        self._group = group
        self._writer = Writer()
        self._pairs: dict[str, _Pair] = {}
        self._by_data: dict[int, tuple[str, _Pair]] = {}

    def end(self) -> None:
        for pair in self._pairs.values():
            pair.give_up()

    async def take(self, frame: Frame) -> bool:
        """Act on a frame; whether to go on."""
        match frame.type:
            case None:
                if found := self._by_data.get(frame.stream):
                    if frame.data:
                        await found[1].sent.put(frame.data)
                    if frame.flags & FIN:
                        await found[1].sent.put(b"")
            case t if t == SYN_STREAM:
                await self._open(frame)
            case t if t == RST_STREAM:
                if found := self._by_data.get(frame.stream):
                    found[1].give_up()
            case t if t == PING:
                await self._socket.send(ping_frame(frame.stream))
            case t if t == GOAWAY:
                return False
        return True

    async def _open(self, frame: Frame) -> None:
        headers, kind = frame.headers, frame.headers.get("streamtype", "")
        port, request = headers.get("port", ""), headers.get("requestid", "")
        known = self._pairs.get(request)
        usable = kind in ("error", "data") and port.isdecimal() and 0 < int(port) < 65536
        if not usable or (known is None and len(self._pairs) >= _CONNECTIONS):
            await self._socket.send(reset_frame(frame.stream))
            return
        pair = known or self._pairs.setdefault(request, _Pair(int(port)))
        if kind == "error":
            pair.error = frame.stream
        else:
            pair.data = frame.stream
            self._by_data[frame.stream] = request, pair
        await self._socket.send(self._writer.reply(frame.stream))
        if pair.error and pair.data and pair.task is None:
            pair.task = self._group.create_task(self._carry(request, pair))

    async def _carry(self, request: str, pair: _Pair) -> None:
        """One connection, until either side ends it."""
        sending: asyncio.Future[None] | None = None
        why = ""
        try:
            reader, pair.writer = await self._connect(pair.port)
            sending = asyncio.ensure_future(_send(pair, pair.writer))
            while not pair.given_up and (data := await reader.read(_PIECE)):
                await self._socket.send(data_frame(pair.data, data))
        except OSError as error:
            why = f"an error occurred forwarding to port {pair.port}: {error}"
        finally:
            if sending is not None:
                sending.cancel()
            if pair.writer is not None:
                pair.writer.close()
            self._pairs.pop(request, None)
            self._by_data.pop(pair.data, None)
            while not pair.sent.empty():
                pair.sent.get_nowait()  # nobody may wait for room in it
        await self._socket.send(data_frame(pair.data, b"", last=True))
        await self._socket.send(data_frame(pair.error, why.encode(), last=True))


async def _send(pair: _Pair, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await pair.sent.get():
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        while await pair.sent.get():
            pass  # the pod's side has ended; whoever reads from it finds out


async def converse(socket: Socket, connect: Connect) -> None:
    """Carry connections to the pod until kubectl goes away, or says what is not SPDY."""
    reader = Reader()

    async def serve() -> None:
        async with asyncio.TaskGroup() as group:
            tunnel = _Tunnel(socket, connect, group)
            going = True
            while going and (message := await socket.receive()) is not None:
                for frame in reader.feed(message):
                    going = going and await tunnel.take(frame)
            tunnel.end()

    try:
        await serve()
    except* (OSError, SpdyError):
        pass
