"""The client's transport into an `ApiServer` of the same process: no socket, no serialization but the bodies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from kfcore.apiserver.authentication import ADMIN
from kfcore.apiserver.request import Request as ServerRequest
from kfcore.apiserver.request import Response as ServerResponse
from kfcore.apiserver.server import ApiServer
from kfcore.client.transport import Request, Response


class InProcessTransport:
    """Implements `kfcore.client.transport.Transport`. `requests` lists the method and path of every call made
    (not with `record` off, for a server that runs on); `before` is told of each path before it is answered.
    """

    def __init__(
        self,
        server: ApiServer,
        *,
        user: str = ADMIN.name,
        groups: tuple[str, ...] = ADMIN.groups,
        before: Callable[[str], None] | None = None,
        record: bool = True,
    ) -> None:
        self.server = server
        self._before = before
        self._record = record
        self.requests: list[tuple[str, str]] = []
        self._user, self._groups = user, groups

    async def send(self, request: Request) -> Response:
        answer = await self._handle(request)
        if isinstance(answer.body, bytes):
            return Response(answer.status, answer.body, answer.headers)
        return Response(answer.status, b"".join([chunk async for chunk in answer.body]), answer.headers)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[tuple[Response, AsyncIterator[bytes]]]:
        answer = await self._handle(request)
        body = answer.body
        if isinstance(body, bytes):
            if answer.status >= 400:
                yield Response(answer.status, body, answer.headers), _lines_of(_chunks(b""))
            else:
                yield Response(answer.status, b"", answer.headers), _lines_of(_chunks(body))
            return
        try:
            yield Response(answer.status, b"", answer.headers), _lines_of(body)
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()

    async def close(self) -> None:
        """Nothing is held open."""

    async def _handle(self, request: Request) -> ServerResponse:
        if self._record:
            self.requests.append((request.method, request.path))
        if self._before is not None:
            self._before(request.path)
        return await self.server.handle(
            ServerRequest(
                request.method,
                request.path,
                request.query,
                {"content-type": request.content_type},
                request.body or b"",
                self._user,
                self._groups,
            )
        )


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _lines_of(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Complete lines, whatever the chunks; an incomplete last one is dropped."""
    rest = b""
    async for chunk in body:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
