"""Bytes from one TCP connection to another. Listening sockets in pods' network come in, with what to connect to."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)

_PIECE = 64 * 1024
_BACKLOG = 512
_FREEBIND = 15  # IP_FREEBIND, which `socket` has not
_RESET = struct.pack("ii", 1, 0)

Connect = Callable[[socket.socket], Awaitable[socket.socket]]
"""From a connection that was accepted to the one behind it. Raises OSError where there is none."""


def listen(opened: socket.socket, address: str, port: int, device: str = "") -> socket.socket:
    """Have a socket listen at an address that need not be its machine's, for what comes by `device`, if it is given.
    It is closed when that fails.
    """
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if device:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
        opened.setsockopt(socket.SOL_IP, _FREEBIND, 1)
        opened.bind((address, port))
        if opened.type == socket.SOCK_STREAM:
            opened.listen(_BACKLOG)
    except BaseException:
        opened.close()
        raise
    return opened


async def serve(listening: socket.socket, connect: Connect) -> None:
    """Accept and pass on, until cancelled; the socket and all that came by it are closed then."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    accepted, _ = await loop.sock_accept(listening)
                except OSError as error:
                    log.warning("proxy.not_accepted", error=str(error))
                    await asyncio.sleep(1.0)  # too many open files; they become fewer
                    continue
                group.create_task(_pass_on(accepted, connect))
    finally:
        listening.close()


async def _pass_on(accepted: socket.socket, connect: Connect) -> None:
    with accepted:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            behind = await connect(accepted)
        except OSError as error:
            log.debug("proxy.refused", error=str(error))
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return
        with behind:
            behind.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(accepted, behind))
                group.create_task(_copy(behind, accepted))


async def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Until the source's end, which is passed on; a connection that breaks ends both ways."""
    loop = asyncio.get_running_loop()
    buffer = bytearray(_PIECE)
    view = memoryview(buffer)
    try:
        while count := await loop.sock_recv_into(source, buffer):
            await loop.sock_sendall(sink, view[:count])
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for broken in (source, sink):
            _shut(broken)


def _shut(broken: socket.socket) -> None:
    try:
        broken.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is shut already
