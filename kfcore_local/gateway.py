"""One loopback port through which a browser reaches what runs in pods, WebSockets included. A request comes in, the
route is `gateway_routes.py`'s, the answer is the pod's.

What is behind it are the user's own processes, a notebook's kernel among them, so nobody else may come in:

- A request must carry the gateway's token: as a cookie, which the printed link sets, or as `Authorization: Bearer`.
- Its `Host` must be a name of this machine, so that a page whose name points here (DNS rebinding) gets nowhere.
- A page of another origin may link here and no more: pages at other ports of 127.0.0.1 count as the same site for a
  browser's cookies, therefore `Origin` and `Sec-Fetch-Site` are looked at too.
- The token stays here: neither cookie nor header of it reaches a pod.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import structlog

from kfcore.api.meta import Unstructured
from kfcore.cache.informer import Informer
from kfcore.client.interface import Client
from kfcore.clock import Clock
from kfcore.services import OpenedService
from kfcore_local.gateway_index import index_page
from kfcore_local.gateway_routes import (
    Backend,
    Ingress,
    NoPod,
    NoRoute,
    RoutedPod,
    RoutedService,
    Routes,
    Target,
    VirtualService,
)
from kfcore_local.gateway_tunnel import tunnel

if TYPE_CHECKING:
    from aiohttp import ClientSession, web

log = structlog.get_logger(__name__)

TOKEN_PARAMETER = "kfcore_token"
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


class Refused(Exception):
    """A request that does not come in; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Gateway:
    """`server_token` is what servers in pods may ask for (`JUPYTER_TOKEN`); the gateway knows it, its user need not.
    `open_socket` gives sockets in the network that pods are on; without, that is this machine's.
    """

    def __init__(
        self,
        client: Client,
        *,
        clock: Clock,
        token: str | None = None,
        server_token: str = "",
        port: int = 0,
        open_socket: Callable[[], socket.socket] | None = None,
    ) -> None:
        self.token = token or secrets.token_urlsafe(32)
        self.port = port
        self._server_token = server_token
        self._open_socket = open_socket
        self._services = Informer(client, RoutedService, clock=clock)
        self._pods = Informer(client, RoutedPod, clock=clock)
        self._ingresses = Informer(client, Ingress, clock=clock)
        self._virtual_services = Informer(client, VirtualService, clock=clock)
        self._routes = Routes(self)
        self._runner: web.AppRunner | None = None
        self._session: ClientSession | None = None

    # ── what is there ────────────────────────────────────────────────────────────────────────────────────────────────

    def services(self) -> Iterable[RoutedService]:
        return self._services.store.list()

    def pods(self, namespace: str) -> Iterable[RoutedPod]:
        return self._pods.store.list(namespace)

    def ingresses(self) -> Iterable[Unstructured]:
        return self._ingresses.store.list()

    def virtual_services(self) -> Iterable[Unstructured]:
        return self._virtual_services.store.list()

    def door(self, namespace: str, service: str, port: int) -> OpenedService | None:
        """Implements `kfcore.services.ServiceDoor`, for an operator in this process: it goes through the gateway, for
        pods may have a network of their own.
        """
        if self._routes.open(Backend(namespace, service, port)) is None:
            return None
        headers = {"Authorization": f"Bearer {self.token}"}
        return OpenedService(f"{self.url}/services/{namespace}/{service}:{port}", headers)

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Listen; `run` must be running for anything to be found. Raises OSError when the port is taken."""
        import aiohttp
        from aiohttp import web

        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=0, socket_factory=self._new_socket if self._open_socket else None),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )
        self._runner = web.AppRunner(_application(self._answer), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    def _new_socket(self, where: Any) -> socket.socket:
        """One in the network that pods are on."""
        assert self._open_socket is not None
        return self._open_socket()

    async def run(self) -> None:
        """Keep the routes up to date, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in (self._services, self._pods, self._ingresses, self._virtual_services):
                group.create_task(informer.run())

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def link(self, path: str) -> str:
        """What a user opens: it lets this browser in, from then on without the token."""
        return f"{self.url}{path}?{urlencode({TOKEN_PARAMETER: self.token})}"

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import ClientConnectorError, ClientError, web

        try:
            host = self._check_host(request.headers.get("Host", ""))
            if TOKEN_PARAMETER in request.query:
                return self._let_in(request)
            self._check_token(request)
            _check_origin(request)
            target = self._routes.target(host, request.rel_url.raw_path)
            if request.headers.get("Upgrade", "").lower() == "websocket":
                assert self._session is not None
                url = _address(target, request.rel_url.raw_query_string)
                return await tunnel(self._session, request, url, self._headers(request, target))
            return await self._forward(request, target)
        except Refused as refused:
            return web.Response(status=refused.status, text=f"{refused}\n")
        except NoRoute as missing:
            return self._nothing_here(request, str(missing))
        except (NoPod, ClientConnectorError) as missing:  # a browser tries again by itself
            return web.Response(
                status=503, text=f"not ready yet: {missing}\n", headers={"Retry-After": "1", "Refresh": "1"}
            )
        except (ClientError, OSError) as error:
            return web.Response(status=502, text=f"the pod's server: {type(error).__name__}: {error}\n")

    def _nothing_here(self, request: web.Request, path: str) -> web.StreamResponse:
        from aiohttp import web

        prefixes = sorted({rule.prefix for rule in self._routes.rules()})
        if f"{path}/" in prefixes and request.method == "GET":
            query = f"?{request.query_string}" if request.query_string else ""
            return web.Response(status=308, headers={"Location": f"{path}/{query}"})
        if path == "/" and request.method in ("GET", "HEAD") and "text/html" in request.headers.get("Accept", ""):
            page = index_page(self._routes.rules(), self.port, lambda backend: self._routes.open(backend) is not None)
            return web.Response(text=page, content_type="text/html")
        listed = "\n".join(f"  {prefix}" for prefix in prefixes) or "  (no Service yet)"
        return web.Response(status=404, text=f"nothing is at {path}; there is:\n{listed}\n")

    def _check_host(self, host: str) -> str:
        """The name in a Host header. Raises `Refused` for one that is not this machine's."""
        name, _, port = host.rpartition(":")
        name = name.strip("[]").lower()
        if port != str(self.port) or not (name in LOCAL_NAMES or name.endswith(".localhost")):
            raise Refused(421, f"this is {self.url}: open it by that address, not as {host!r}")
        return name

    def _let_in(self, request: web.Request) -> web.StreamResponse:
        """The link that was printed: the token moves into a cookie, and out of the address."""
        from aiohttp import web

        if not _is(self.token, request.query[TOKEN_PARAMETER]):
            raise Refused(403, "this link is of another run of kfcore: take the one that is printed now")
        location = request.rel_url.without_query_params(TOKEN_PARAMETER)
        response = web.Response(status=302, headers={"Location": "/" + str(location).lstrip("/")})
        response.set_cookie(self._cookie, self.token, httponly=True, samesite="Lax", path="/")
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    def _check_token(self, request: web.Request) -> None:
        if _is(f"Bearer {self.token}", request.headers.get("Authorization", "")):
            return
        if not _is(self.token, request.cookies.get(self._cookie, "")):
            raise Refused(401, "open the link that kfcore local has printed: it lets this browser in")

    @property
    def _cookie(self) -> str:
        return f"kfcore-gateway-{self.port}"

    async def _forward(self, request: web.Request, target: Target) -> web.StreamResponse:
        from aiohttp import ClientError, web
        from yarl import URL

        assert self._session is not None
        body = request.content if request.body_exists else None
        async with self._session.request(
            request.method,
            URL(_address(target, request.rel_url.raw_query_string), encoded=True),
            headers=self._headers(request, target),
            data=body,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        ) as upstream:
            response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
            for name, value in upstream.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    response.headers.add(name, value)
            await response.prepare(request)
            try:
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            except (ClientError, OSError) as error:
                # The answer has begun, so that no other can be given: it breaks off, as the pod's did.
                log.debug("gateway.broken_off", path=request.path, error=str(error))
                if request.transport is not None:
                    request.transport.abort()
            return response

    def _headers(self, request: web.Request, target: Target) -> dict[str, str]:
        """The browser's, without what is the gateway's own; Host stays, for servers compare it with Origin."""
        listed = {name.strip().lower() for name in request.headers.get("Connection", "").split(",")}
        dropped = HOP_BY_HOP | listed
        headers = {name: value for name, value in request.headers.items() if name.lower() not in dropped}
        if _is(f"Bearer {self.token}", headers.get("Authorization", "")):
            del headers["Authorization"]
        if cookies := _without(request.headers.get("Cookie", ""), self._cookie):
            headers["Cookie"] = cookies
        else:
            headers.pop("Cookie", None)
        own = {} if "Authorization" in headers else self._own_headers()
        return {**headers, **own, **target.headers, "X-Forwarded-Proto": "http", "X-Forwarded-Host": request.host}

    def _own_headers(self) -> Mapping[str, str]:
        return {"Authorization": f"token {self._server_token}"} if self._server_token else {}


def _application(handler: Any) -> web.Application:
    from aiohttp import web

    application = web.Application(client_max_size=0)
    application.router.add_route("*", "/{path:.*}", handler)
    return application


def _check_origin(request: web.Request) -> None:
    """Another origin's page may link here, and nothing else."""
    headers = request.headers
    origin = headers.get("Origin")
    if origin is not None and origin != f"http://{headers.get('Host')}":
        raise Refused(403, f"a page of {origin} asked for this; only the gateway's own pages may")
    is_link = request.method == "GET" and headers.get("Sec-Fetch-Mode") == "navigate"
    if headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none") and not is_link:
        raise Refused(403, "a page of another origin asked for this; only the gateway's own pages may")


def _address(target: Target, query: str) -> str:
    return f"http://{target.address}:{target.port}{target.path}" + (f"?{query}" if query else "")


def _without(cookies: str, name: str) -> str:
    kept = [part.strip() for part in cookies.split(";") if part.partition("=")[0].strip() != name]
    return "; ".join(part for part in kept if part)


def _is(expected: str, found: str) -> bool:
    return secrets.compare_digest(expected.encode(), found.encode(errors="surrogateescape"))
