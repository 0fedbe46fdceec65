"""The gateway: what runs in pods from a browser, and from nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from patience import eventually
from yarl import URL

from kfcore.api.core import Pod, Service
from kfcore.api.meta import Manifest, untyped
from kfcore.clock import SystemClock
from kfcore.testing import FakeClient
from kfcore.testing.client import schemaless_crd
from kfcore_local.gateway import Gateway
from kfcore_local.gateway_routes import Ingress, VirtualService

PODS, SERVICES = untyped(Pod.resource), untyped(Service.resource)


async def echo(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade"):
        socket = web.WebSocketResponse(protocols=("v1.kernel",))
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{socket.ws_protocol}: {message.data}")
        return socket
    if request.path.endswith("/breaks"):
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        await answer.prepare(request)
        await answer.write(b"x" * 100)
        assert request.transport is not None
        request.transport.abort()
        return answer
    if request.path.endswith("/redirect"):
        raise web.HTTPFound("/elsewhere")
    body = (await request.read()).decode()
    return web.json_response({"path": request.path_qs, "headers": dict(request.headers), "body": body})


class Behind:
    """A gateway, and a server in a pod behind the Service `web`."""

    def __init__(self, client: FakeClient, gateway: Gateway, session: aiohttp.ClientSession, port: int) -> None:
        self.client = client
        self.gateway = gateway
        self.session = session
        self.port = port

    async def get(self, path: str, **headers: str) -> aiohttp.ClientResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Authorization", f"Bearer {self.gateway.token}")
        response = await self.session.get(
            URL(self.gateway.url + path, encoded=True), headers=named, allow_redirects=False
        )
        await response.read()
        return response

    async def path_of(self, path: str, **headers: str) -> str:
        response = await self.get(path, **headers)
        assert response.status == 200, await response.text()
        found: str = (await response.json())["path"]
        return found

    async def becomes(self, path: str, status: int) -> aiohttp.ClientResponse:
        """The answer, once the gateway has seen what it depends on."""

        async def answer() -> aiohttp.ClientResponse | None:
            response = await self.get(path)
            return response if response.status == status else None

        response = await eventually(answer, f"{path} is answered with {status}")
        assert response is not None
        return response

    async def routes(self, kind: Any, manifest: Manifest, path: str) -> None:
        """Create a route, and wait until it leads somewhere."""
        await self.client.create(kind, manifest, "team")
        await self.becomes(path, 200)


@pytest.fixture
async def behind() -> AsyncIterator[Behind]:
    async with serving() as behind:
        yield behind


@asynccontextmanager
async def serving() -> AsyncIterator[Behind]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    client = FakeClient({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}, clock=SystemClock())
    client.server.install_crd(schemaless_crd(VirtualService.resource))
    container = {"name": "c", "image": "x", "ports": [{"name": "http", "containerPort": port}]}
    pod = {"metadata": {"name": "p", "labels": {"app": "web"}}, "spec": {"containers": [container]}}
    await client.create(PODS, pod, "team")
    ready = {"podIP": "127.0.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await client.patch(PODS, "p", "team", {"status": ready}, subresource="status")
    ports = [{"name": "main", "port": 80, "targetPort": "http"}]
    await client.create(
        SERVICES, {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}}, "team"
    )
    gateway = Gateway(client, clock=SystemClock(), server_token="of-the-servers")
    await gateway.start()
    running = asyncio.create_task(gateway.run())
    try:
        async with aiohttp.ClientSession() as session:
            behind = Behind(client, gateway, session, port)
            await behind.becomes("/services/team/web/", 200)
            yield behind
    finally:
        running.cancel()
        await gateway.stop()
        await runner.cleanup()


async def test_a_service_is_found_by_its_name_and_its_named_target_port(behind: Behind) -> None:
    assert await behind.path_of("/services/team/web/a/b?c=%2Fd") == "/a/b?c=%2Fd"
    assert await behind.path_of("/services/team/web:80/x") == "/x"
    assert (await behind.get("/services/team/other/")).status == 404
    assert (await behind.get("/services/team/web")).headers["Location"] == "/services/team/web/"


async def test_an_ingress_routes_by_whole_segments_and_by_host(behind: Behind) -> None:
    backend = {"service": {"name": "web", "port": {"name": "main"}}}
    paths = [
        {"path": "/app", "pathType": "Prefix", "backend": backend},
        {"path": "/only", "pathType": "Exact", "backend": backend},
    ]
    rules = [{"http": {"paths": paths}}, {"host": "model.example", "http": {"paths": [{**paths[0], "path": "/"}]}}]
    await behind.routes(Ingress, {"metadata": {"name": "i"}, "spec": {"rules": rules}}, "/only")
    assert await behind.path_of("/app/x") == "/app/x"
    assert await behind.path_of("/only") == "/only"
    assert (await behind.get("/apple")).status == 404
    assert (await behind.get("/only/x")).status == 404
    host = f"model.example.localhost:{behind.gateway.port}"
    assert await behind.path_of("/whatever", Host=host) == "/whatever"


async def test_a_virtual_service_rewrites_the_path_and_sets_headers(behind: Behind) -> None:
    route = {
        "match": [{"uri": {"prefix": "/notebook/team/nb/"}}],
        "rewrite": {"uri": "/"},
        "headers": {"request": {"set": {"X-Root": "/notebook/team/nb"}}},
        "route": [{"destination": {"host": "web.team.svc.cluster.local", "port": {"number": 80}}}],
    }
    spec = {"hosts": ["*"], "gateways": ["kubeflow/kubeflow-gateway"], "http": [route]}
    await behind.routes(VirtualService, {"metadata": {"name": "v"}, "spec": spec}, "/notebook/team/nb/")
    answer = await (await behind.get("/notebook/team/nb/lab?x=1")).json()
    assert answer["path"] == "/lab?x=1"
    assert answer["headers"]["X-Root"] == "/notebook/team/nb"


async def test_a_websocket_passes_with_its_protocol(behind: Behind) -> None:
    url = f"{behind.gateway.url}/services/team/web/channels"
    headers = {"Authorization": f"Bearer {behind.gateway.token}"}
    async with behind.session.ws_connect(url, protocols=("v1.kernel",), headers=headers) as socket:
        await socket.send_str("hello")
        assert (await socket.receive_str()) == "v1.kernel: hello"


async def test_the_printed_link_lets_a_browser_in_and_the_token_leaves_the_address(behind: Behind) -> None:
    link = behind.gateway.link("/services/team/web/page")
    async with behind.session.get(link, allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == "/services/team/web/page"
        cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    kept = cookie.partition(";")[0]
    answer = await (await behind.get("/services/team/web/page", Cookie=f"a=1; {kept}", Authorization="")).json()
    assert answer["headers"]["Cookie"] == "a=1", "the gateway's own cookie reaches no pod"
    other = await behind.session.get(f"{behind.gateway.url}/services/team/web/?kfcore_token=guess")
    assert other.status == 403


async def test_without_the_token_nobody_comes_in(behind: Behind) -> None:
    assert (await behind.get("/services/team/web/", Authorization="")).status == 401
    assert (await behind.get("/services/team/web/", Authorization="Bearer guess")).status == 401


async def test_the_token_stays_and_the_servers_own_is_added(behind: Behind) -> None:
    answer = await (await behind.get("/services/team/web/")).json()
    assert answer["headers"]["Authorization"] == "token of-the-servers"
    assert behind.gateway.token not in str(answer)


@pytest.mark.parametrize("host", ["evil.example:PORT", "127.0.0.1.evil.example:PORT", "127.0.0.1:1", "localhost"])
async def test_a_page_whose_name_was_pointed_here_gets_nowhere(behind: Behind, host: str) -> None:
    named = host.replace("PORT", str(behind.gateway.port))
    assert (await behind.get("/services/team/web/", Host=named)).status == 421


async def test_another_origin_may_link_here_and_no_more(behind: Behind) -> None:
    path = "/services/team/web/"
    assert (await behind.get(path, Origin="http://127.0.0.1:1")).status == 403
    assert (await behind.get(path, Sec_Fetch_Site="same-site", Sec_Fetch_Mode="cors")).status == 403
    assert (await behind.get(path, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")).status == 200
    assert (await behind.get(path, Origin=behind.gateway.url, Sec_Fetch_Site="same-origin")).status == 200


async def test_a_pods_redirect_and_an_empty_service_are_answered_as_what_they_are(behind: Behind) -> None:
    assert (await behind.get("/services/team/web/redirect")).headers["Location"] == "/elsewhere"
    await behind.client.patch(
        PODS, "p", "team", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, subresource="status"
    )
    response = await behind.becomes("/services/team/web/", 503)
    assert response.headers["Refresh"] == "1"


async def test_an_answer_that_breaks_off_in_the_pod_breaks_off_here(behind: Behind) -> None:
    url, headers = f"{behind.gateway.url}/services/team/web/breaks", {"Authorization": f"Bearer {behind.gateway.token}"}
    await behind.becomes("/services/team/web/", 200)
    got = bytearray()

    async def read() -> None:
        async with behind.session.get(url, headers=headers) as response:
            async for chunk in response.content.iter_any():
                got.extend(chunk)

    with pytest.raises(aiohttp.ClientError):
        await read()
    assert got == b"x" * 100


async def test_the_first_page_links_to_what_there_is(behind: Behind) -> None:
    backend = {"service": {"name": "web", "port": {"name": "main"}}}
    path = {"path": "/cart", "pathType": "Prefix", "backend": backend}
    ingress = {"rules": [{"host": "shop.example", "http": {"paths": [path]}}]}
    await behind.client.create(Ingress, {"metadata": {"name": "shop"}, "spec": ingress}, "team")

    async def first_page() -> str:
        page = await (await behind.get("/", Accept="text/html")).text()
        return page if "/cart/" in page else ""

    page = await eventually(first_page, "the Ingress is on the first page")
    assert '<a href="/services/team/web/">' in page
    assert f'<a href="http://shop.example.localhost:{behind.gateway.port}/cart/">' in page
    assert (await behind.get("/")).status == 404, "a program gets the list as text"
