"""Kubernetes' channels over a WebSocket: the first byte of a message says which stream the rest belongs to. Exec and
attach have stdin, stdout, stderr, the outcome and terminal sizes; port-forward has two channels a port.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from kfcore.api.codec import encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.request import Socket
from kfcore.apiserver.status import status_body
from kfcore.client.errors import ApiError

__all__ = ["FORWARD_PROTOCOLS", "PROTOCOLS", "Socket", "Wanted", "converse", "forward"]

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
FORWARD_PROTOCOLS = ("v4.channel.k8s.io",)
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_OUTPUT = {"stdout": STDOUT, "stderr": STDERR}
_AHEAD = 16
"""Messages of stdin that wait for a process, before its client must."""

Connect = Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Wanted(msgspec.Struct, frozen=True):
    """Which streams the client asked for."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False

    def channels(self) -> frozenset[int]:
        """What a client opens to have them. A terminal has no stderr, but sizes."""
        opened = {ERROR, *([STDIN] if self.stdin else ()), *([STDOUT] if self.stdout else ())}
        if self.stderr and not self.tty:
            opened.add(STDERR)
        return frozenset(opened | {RESIZE} if self.tty else opened)


class ChannelStreams:
    """Implements `kfcore.apiserver.streaming.Streams` over a socket."""

    def __init__(self, socket: Socket, wanted: Wanted) -> None:
        self.tty = wanted.tty
        self.has_stdin = wanted.stdin
        self._socket = socket
        self._channels = wanted.channels()
        self._stdin: asyncio.Queue[bytes] = asyncio.Queue(_AHEAD)
        self._sizes: asyncio.Queue[tuple[int, int]] = asyncio.Queue()

    async def read_stdin(self) -> bytes:
        return await self._stdin.get()

    async def next_size(self) -> tuple[int, int]:
        return await self._sizes.get()

    async def write(self, stream: str, data: bytes) -> None:
        if _OUTPUT[stream] in self._channels:
            await self._socket.send(bytes([_OUTPUT[stream]]) + data)

    async def listen(self) -> None:
        """Take in what the client sends, until it goes away."""
        while (message := await self._socket.receive()) is not None:
            match message[:1]:
                case b"\x00" if len(message) > 1:
                    await self._stdin.put(message[1:])
                case b"\x04":
                    with suppress(ValueError, KeyError, TypeError):
                        size = json.loads(message[1:])
                        self._sizes.put_nowait((int(size["Width"]), int(size["Height"])))
                case b"\xff" if message[1:] == b"\x00":
                    await self._stdin.put(b"")


async def converse(socket: Socket, *, wanted: Wanted, work: Callable[[Any], Awaitable[int]]) -> None:
    """Give a process (`work`) the client's streams, and tell the client how it ended. It ends with its client."""
    streams = ChannelStreams(socket, wanted)

    async def outcome() -> Manifest:
        try:
            return _ended(await work(streams))
        except ApiError as error:
            return status_body(error)

    working = asyncio.ensure_future(outcome())
    listening = asyncio.ensure_future(streams.listen())
    try:
        await asyncio.wait((working, listening), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await socket.send(bytes([ERROR]) + encode_json(working.result()))
    finally:
        await _end(working, listening)


def _ended(code: int) -> Manifest:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


async def forward(socket: Socket, ports: Sequence[int], connect: Connect) -> None:
    """One connection a port: channel 2i carries its bytes, 2i+1 why it failed; each opens with the port's number."""
    for index, port in enumerate(ports):
        for channel in (2 * index, 2 * index + 1):
            await socket.send(bytes([channel]) + port.to_bytes(2, "little"))
    writers: dict[int, asyncio.StreamWriter] = {}
    connected = {2 * index: asyncio.Event() for index in range(len(ports))}

    async def carry(index: int, port: int) -> None:
        try:
            reader, writers[2 * index] = await connect(port)
        except OSError as error:
            await socket.send(bytes([2 * index + 1]) + str(error).encode())
            return
        finally:
            connected[2 * index].set()
        with suppress(OSError):  # it broke, as the other ports' need not
            while data := await reader.read(65536):
                await socket.send(bytes([2 * index]) + data)

    async def listen() -> None:
        while (message := await socket.receive()) is not None:
            channel = message[0] if message else -1
            if channel in connected:
                await connected[channel].wait()
                if writer := writers.get(channel):
                    writer.write(message[1:])
                    with suppress(OSError):
                        await writer.drain()

    carrying = asyncio.gather(*(carry(index, port) for index, port in enumerate(ports)))
    listening = asyncio.ensure_future(listen())
    try:
        await asyncio.wait((carrying, listening), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for writer in writers.values():
            writer.close()
        await _end(carrying, listening)


async def _end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what still runs, and wait for it; a connection that broke is how conversations end."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception) and not isinstance(result, OSError):
            raise result
