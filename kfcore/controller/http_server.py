"""How a process listens: an address and an aiohttp application come in, a port that answers goes out."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from kfcore.controller.metrics_access import TlsServer

if TYPE_CHECKING:
    from aiohttp import web

Address = tuple[str, int]


class CannotListen(Exception):
    """The address of a server is taken, or not of this machine."""


def parse_address(text: str) -> Address:
    """`host:port` or `:port` (all interfaces). Raises ValueError saying what was expected."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"address {text!r}: expected HOST:PORT or :PORT, such as 127.0.0.1:8080")
    return host.strip("[]"), int(port)


async def listen(
    stack: AsyncExitStack, what: str, address: Address, application: web.Application, tls: TlsServer | None = None
) -> int:
    """Serve `application` until the stack is closed; the port. Raises `CannotListen`, which says `what` it was for."""
    from aiohttp import web

    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    host, port = address
    try:
        await web.TCPSite(runner, host or None, port, ssl_context=tls.context if tls else None).start()
    except OSError as error:
        raise CannotListen(f"cannot serve {what} on {host}:{port}: {error.strerror or error}") from error
    bound: int = runner.addresses[0][1]
    return bound
