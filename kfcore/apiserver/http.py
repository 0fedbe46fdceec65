"""The in-process API over HTTP: bytes from a socket become a `Request`, and its `Response` goes back. Who may connect,
and how much they may send, is decided here; what a request means is `ApiServer.handle`'s alone.
"""

from __future__ import annotations

import asyncio
import gzip
import hmac
import ipaddress
import os
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, quote, unquote

from aiohttp import web

from kfcore.api.codec import encode_json
from kfcore.apiserver import impersonation, protobuf, spdy_connection, websocket
from kfcore.apiserver.authentication import ADMIN, ANONYMOUS, User
from kfcore.apiserver.authorization import OPEN_PATHS
from kfcore.apiserver.in_flight import InFlight
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.status import error_response
from kfcore.apiserver.tls import ServerCertificate
from kfcore.client.errors import ApiError, BadRequest, Forbidden, RequestEntityTooLarge, StatusDetails, Unauthorized

if TYPE_CHECKING:
    from aiohttp.http_parser import RawRequestMessage

BODY_LIMIT = 3 * 1024 * 1024
"""Bytes of a request body, as kube-apiserver limits it."""

GZIP_ABOVE = 128 * 1024
"""Bytes of a response body from which compressing pays, as kube-apiserver decides."""

_CONVERSATIONS = {"websocket": websocket.converse, spdy_connection.PROTOCOL.lower(): spdy_connection.converse}
"""How a connection goes on that a client wants to upgrade, by what it asks for."""

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Handler(Protocol):
    """What is served: `ApiServer`."""

    async def handle(self, request: Request) -> Response: ...

    def authenticate(self, token: str) -> User | None: ...


class HttpServer:
    """Serves an `ApiServer` on a loopback address, or on a unix socket (`host` is its absolute path).

    The API starts processes for whoever may create Pods, so that every other address is refused, every call carries
    a token, and the Host header must name this server: a web page cannot reach it by DNS rebinding. `token` is the
    administrator's; `server` knows other users by theirs.

    With `tls` it speaks HTTPS. Without, a token may also come as the first segment of the path: Go's clients, kubectl
    among them, send no credentials to a server without TLS, and the address in the kubeconfig is how they bring theirs.
    """

    def __init__(
        self,
        server: Handler,
        *,
        token: str,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ServerCertificate | None = None,
        also: Collection[str] = (),
    ) -> None:
        """`also` are further names by which it may be called, at the usual port: those of pods.

        Raises ValueError for an address that others could reach, and for an empty token."""
        if not token:
            raise ValueError("the API server needs a bearer token: it starts processes for whoever may create pods")
        self._socket_path = Path(host) if host.startswith("/") else None
        if self._socket_path is None and not _is_loopback(host):
            raise ValueError(
                f"cannot serve the API on {host!r}: it starts processes for whoever may create pods, so it listens "
                "on loopback (127.0.0.1, ::1, localhost) or on a unix socket (an absolute path) only"
            )
        self._server = server
        self._authorization = f"Bearer {token}".encode()
        self._prefix = f"/{quote(token, safe='')}/" if tls is None else ""
        self._tls = tls
        self._host, self._port = host, port
        self._hosts: frozenset[str] = frozenset()
        self._also = tuple(also)
        self._runner: web.ServerRunner | None = None
        self._streaming: set[asyncio.Task[object]] = set()
        self._in_flight = InFlight()

    @property
    def authority(self) -> bytes | None:
        """The certificate (PEM) that clients trust this server by; None without TLS."""
        return self._tls.authority if self._tls else None

    @property
    def url(self) -> str:
        """Where clients connect to, known once started."""
        if self._socket_path is not None:
            return f"unix://{self._socket_path}"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        # A client that goes away cancels its handler: that is how an idle watch or a followed log ends.
        server = web.Server(self._serve, request_factory=_bounded_request, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, handle_signals=False, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site: web.BaseSite
            if self._socket_path is not None:
                self._socket_path.unlink(missing_ok=True)
                site = web.UnixSite(runner, self._socket_path)
            else:
                context = self._tls.context if self._tls else None
                site = web.TCPSite(runner, self._host, self._port, backlog=1024, ssl_context=context)
            await site.start()
        except BaseException:
            await runner.cleanup()
            raise
        if self._socket_path is not None:
            os.chmod(self._socket_path, 0o600)
        else:
            self._port = runner.addresses[0][1]
            names = {*_LOOPBACK_NAMES, f"[{self._host}]" if ":" in self._host else self._host}
            others = {f"{name}{port}" for name in self._also for port in ("", ":443")}
            self._hosts = frozenset(f"{name}:{self._port}" for name in names) | others
        self._runner = runner

    async def stop(self) -> None:
        """Stop listening, end open watches and close every connection."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            for task in tuple(self._streaming):
                task.cancel()  # a watch would go on until its client had enough
            await runner.cleanup()
            if self._socket_path is not None:
                self._socket_path.unlink(missing_ok=True)

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        target = http.raw_path
        if not target.isascii():  # bytes that are no UTF-8 arrive as surrogates, which no JSON answer could repeat
            target = target.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        path, _, query = target.partition("?")
        length = len(self._prefix)
        by_path = length > 0 and hmac.compare_digest(path[:length].encode(), self._prefix.encode())
        if by_path:
            path = path[length - 1 :]
        if "%" in path:
            path = unquote(path)
        headers = {name.lower(): value for name, value in http.headers.items()}
        if "impersonate-user" in headers or "impersonate-group" in headers:
            headers |= impersonation.repeated(http.headers)
        headers.setdefault("user-agent", "")
        try:
            with self._in_flight.request(http.method, path, query):
                answer = await self._answer(http, path, query, headers, self._admit(path, headers, by_path))
        except ApiError as refusal:
            answer = error_response(refusal)
            if isinstance(refusal, RequestEntityTooLarge):
                answer.headers["connection"] = "close"
        hold = _CONVERSATIONS.get(headers.get("upgrade", "").lower())
        upgrade = answer.upgrade if hold is not None else None
        if upgrade is None and isinstance(answer.body, bytes):
            return await _whole(answer, answer.body, headers)
        task = asyncio.current_task()
        assert task is not None
        self._streaming.add(task)
        try:
            if hold is not None and upgrade is not None:
                return await hold(http, upgrade)
            assert not isinstance(answer.body, bytes)
            return await _stream(http, answer, answer.body)
        finally:
            self._streaming.discard(task)

    async def _answer(
        self, http: web.BaseRequest, path: str, query: str, headers: dict[str, str], user: User
    ) -> Response:
        body = await _read_body(http) if http.body_exists else b""
        if headers.get("content-type") == protobuf.MEDIA_TYPE:
            body, headers["content-type"] = encode_json(protobuf.read_object(body)), "application/json"
        parameters = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
        return await self._server.handle(
            Request(http.method, path, parameters, headers, body, user.name, user.groups, query, user.uid, user.extra)
        )

    def _admit(self, path: str, headers: dict[str, str], by_path: bool) -> User:
        """Who calls. Raises Forbidden for another server's name, Unauthorized for a token that nobody has."""
        if self._hosts and headers.get("host", "").lower() not in self._hosts:
            raise Forbidden(
                f"the Host header {headers.get('host', '')!r} does not name this server: "
                f"use {self.url} (localhost and loopback addresses are accepted)"
            )
        given = headers.get("authorization", "")
        if by_path or hmac.compare_digest(given.encode("utf-8", "replace"), self._authorization):
            return ADMIN
        scheme, _, token = given.partition(" ")
        if scheme.lower() == "bearer" and (user := self._server.authenticate(token.strip())) is not None:
            return user
        if not given or path in OPEN_PATHS:
            return ANONYMOUS  # who may do nothing (`authorization.py`) but ask for what is open
        raise Unauthorized("Unauthorized")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bounded_request(
    message: RawRequestMessage, payload: Any, protocol: Any, writer: Any, task: asyncio.Task[None]
) -> web.BaseRequest:
    return web.BaseRequest(
        message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=BODY_LIMIT
    )


async def _read_body(http: web.BaseRequest) -> bytes:
    try:
        if (http.content_length or 0) <= BODY_LIMIT:
            return await http.read()
    except web.HTTPRequestEntityTooLarge:
        pass
    except web.RequestPayloadError as error:
        raise BadRequest(f"cannot read the request body: {error}") from error
    raise RequestEntityTooLarge(f"Request entity too large: limit is {BODY_LIMIT}", details=StatusDetails())


async def _whole(answer: Response, body: bytes, headers: dict[str, str]) -> web.Response:
    if len(body) > GZIP_ABOVE and "gzip" in headers.get("accept-encoding", ""):
        # Level 1, in a thread: a list of many pods must not hold up everybody's watches.
        body = await asyncio.to_thread(gzip.compress, body, 1)
        answer.headers["content-encoding"] = "gzip"
        answer.headers["vary"] = "Accept-Encoding"
    return web.Response(body=body, status=answer.status, headers=answer.headers)


async def _stream(http: web.BaseRequest, answer: Response, chunks: AsyncIterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    try:
        await response.prepare(http)
        async for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
    except ConnectionError:
        # Of the client, that went away in the middle of a write; or of whoever gives the chunks, and then the client is
        # not to take what it has for the whole.
        if http.transport is not None:
            http.transport.close()
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    return response
