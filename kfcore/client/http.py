"""A `Transport` over HTTP: requests go out through one pool of connections, bytes come back as they are.

It knows no Kubernetes beyond bearer tokens; where servers and credentials come from is `kfcore.client.cluster`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    StreamReader,
)
from multidict import CIMultiDict

from kfcore.client.errors import ConnectionFailed, NotConnected, NotTrusted
from kfcore.client.transport import Request, Response

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Connection:
    """A server and how to talk to it. `authorization` gives the header's present value, or None for no header."""

    session: ClientSession
    url: str
    authorization: Callable[[], Awaitable[str | None]]
    proxy: str | None = None
    server_hostname: str | None = None
    host: str = field(init=False)
    extra: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        extra = {"proxy": self.proxy, "server_hostname": self.server_hostname}
        object.__setattr__(self, "host", urlsplit(self.url).hostname or "")
        object.__setattr__(self, "extra", {name: value for name, value in extra.items() if value})


class HttpTransport:
    """Sends requests over `connection`.

    When the server no longer accepts the credentials (401), or has a certificate that is not trusted, `connect` is
    asked for a new connection, once per request; that is how renewed tokens, certificates, authorities and kubeconfig
    files are taken up.
    """

    def __init__(self, connection: Connection, connect: Callable[[], Awaitable[Connection]] | None = None) -> None:
        self._connection = connection
        self._connect = connect
        self._renewing = asyncio.Lock()
        self._retired: Connection | None = None
        self.request_counts: Counter[tuple[str, str, str]] = Counter()
        self._timeout = ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
        self._stream_timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)

    @property
    def url(self) -> str:
        return self._connection.url

    async def send(self, request: Request) -> Response:
        connection = self._connection
        try:
            response = await self._send(connection, request)
        except NotTrusted:
            if not await self._renew(connection):
                raise
        else:
            if response.status != 401 or not await self._renew(connection):
                return response
        return await self._send(self._connection, request)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[tuple[Response, AsyncIterator[bytes]]]:
        connection = self._connection
        try:
            async with await self._open(connection, request, self._stream_timeout) as answer:
                if answer.status < 400:
                    yield Response(answer.status, b"", answer.headers), _lines(answer.content)
                    return
                body = await answer.read()
                headers, status = answer.headers, answer.status
        except (ClientError, OSError) as error:
            failure = _translated(error, connection)
            if isinstance(failure, NotTrusted):
                await self._renew(connection)  # for the caller's next try
            raise failure from error
        if status == 401:
            await self._renew(connection)
        yield Response(status, body, headers), _nothing()

    async def close(self) -> None:
        await self._connection.session.close()
        if self._retired:
            await self._retired.session.close()

    async def _send(self, connection: Connection, request: Request) -> Response:
        try:
            answer = await self._open(connection, request, self._timeout)
            # Read to its end, an answer gives its connection back by itself.
            return Response(answer.status, await answer.read(), answer.headers)
        except (ClientError, OSError) as error:
            self.request_counts["<error>", request.method, connection.host] += 1
            raise _translated(error, connection) from error

    async def _open(self, connection: Connection, request: Request, timeout: ClientTimeout) -> ClientResponse:
        content_type = request.content_type if request.body is not None else None
        answer = await connection.session.request(
            request.method,
            connection.url + request.path,
            params=request.query or None,
            data=request.body,
            headers=_headers(await connection.authorization(), content_type),
            timeout=timeout,
            allow_redirects=False,
            **connection.extra,
        )
        self.request_counts[str(answer.status), request.method, connection.host] += 1
        return answer

    async def _renew(self, refused: Connection) -> bool:
        """Whether there is another connection to try than the one that was refused."""
        if self._connect is None:
            return False
        async with self._renewing:
            if self._connection is refused:
                self._connection = await self._connect()
                # What still runs over the refused connection, a watch perhaps, may finish until the next renewal.
                if self._retired:
                    await self._retired.session.close()
                self._retired = refused
        return True


@lru_cache(maxsize=8)
def _headers(authorization: str | None, content_type: str | None) -> CIMultiDict[str]:
    """Made once for many requests, and in aiohttp's own form: it would make that of any other each time."""
    headers = CIMultiDict({"Accept": "application/json", "User-Agent": "kfcore"})
    if content_type:
        headers["Content-Type"] = content_type
    if authorization:
        headers["Authorization"] = authorization
    return headers


def _translated(error: Exception, connection: Connection) -> ConnectionFailed:
    if isinstance(error, ClientConnectorCertificateError):
        return NotTrusted(f"cannot trust {connection.url}: {error.certificate_error}")
    if isinstance(error, ClientConnectorError):
        return NotConnected(f"cannot connect to {connection.url}: {error}")
    # asyncio's TimeoutError is an OSError too. `repr`, since some of these have no text.
    return ConnectionFailed(f"the connection to {connection.url} failed: {error!r}")


async def _lines(content: StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length (aiohttp's own `readline` has a limit); what has no line feed at the end is dropped."""
    parts: list[bytes] = []
    async for chunk in content.iter_any():
        first, *rest = chunk.split(b"\n")
        parts.append(first)
        if not rest:
            continue
        yield b"".join(parts)
        for line in rest[:-1]:
            yield line
        parts = [rest[-1]]


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield
