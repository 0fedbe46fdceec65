"""Bytes over a real socket: lines of any length, broken connections, and credentials that expire."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from kfcore.api.core import Pod
from kfcore.client.cluster import ClusterClient, ConfigurationError
from kfcore.client.errors import ConnectionFailed, NotConnected
from kfcore.client.http import Connection, HttpTransport
from kfcore.client.transport import Request

GET = Request("GET", "/api/v1/pods", {"labelSelector": "a in (b,c),d!=e"})


@asynccontextmanager
async def a_server(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handler))  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def a_connection(url: str, token: str = "") -> Connection:
    async def authorization() -> str | None:
        return f"Bearer {token}" if token else None

    return Connection(aiohttp.ClientSession(), url, authorization)


async def test_the_query_arrives_as_it_was_meant() -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=request.query["labelSelector"])

    async with a_server(echo) as url:
        transport = HttpTransport(a_connection(url))
        assert (await transport.send(GET)).body == b"a in (b,c),d!=e"
        assert transport.request_counts["200", "GET", "127.0.0.1"] == 1
        await transport.close()


@pytest.mark.parametrize("size", [1, 1000, 70_000, 5_000_000])
async def test_lines_of_any_length_arrive_whole_and_half_a_line_does_not(size: int) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first\n" + b"x" * (size // 2))
        await asyncio.sleep(0)
        await response.write(b"x" * (size - size // 2) + b"\n\nlast\nhalf")
        return response

    async with a_server(stream) as url:
        transport = HttpTransport(a_connection(url))
        async with transport.stream(GET) as (response, lines):
            assert response.status == 200
            assert [len(line) for line in [line async for line in lines]] == [5, size, 0, 4]
        await transport.close()


async def test_a_stream_that_breaks_off_is_an_error() -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first\n")
        assert request.transport
        request.transport.abort()
        return response

    async with a_server(break_off) as url:
        transport = HttpTransport(a_connection(url))
        seen = []
        with pytest.raises(ConnectionFailed):
            async with transport.stream(GET) as (_, lines):
                seen += [line async for line in lines]
        await transport.close()


async def test_a_server_that_never_answers_is_an_error_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kfcore.client.http.ANSWER_SECONDS", 0.1)
    never = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with a_server(hang) as url:
        transport = HttpTransport(a_connection(url))
        async with asyncio.timeout(240):
            with pytest.raises(ConnectionFailed, match="failed: TimeoutError"):
                await transport.send(GET)
        never.set()
        await transport.close()


async def test_hundreds_of_requests_are_on_their_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kfcore.client.http.ANSWER_SECONDS", 240)  # the first waits until the last has come
    together = asyncio.Barrier(300)

    async def answer_when_all_are_there(request: web.Request) -> web.Response:
        await together.wait()
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []})

    async with a_server(answer_when_all_are_there) as url, await ClusterClient.at(url) as client:
        async with asyncio.timeout(240):
            assert await asyncio.gather(*(client.list(Pod) for _ in range(300))) == [[]] * 300


async def test_nobody_at_home_is_told_apart() -> None:
    transport = HttpTransport(a_connection("http://127.0.0.1:1"))
    with pytest.raises(NotConnected, match=r"cannot connect to http://127\.0\.0\.1:1"):
        await transport.send(GET)
    await transport.close()


async def test_expired_credentials_are_renewed_once_for_all_who_wait() -> None:
    async def check(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers.get("Authorization") == "Bearer new" else 401)

    renewals = 0
    async with a_server(check) as url:

        async def connect() -> Connection:
            nonlocal renewals
            renewals += 1
            return a_connection(url, "new")

        transport = HttpTransport(a_connection(url, "old"), connect)
        answers = await asyncio.gather(*(transport.send(GET) for _ in range(6)))
        assert {answer.status for answer in answers} == {200}
        assert renewals == 1
        await transport.close()


async def test_a_kubeconfig_that_is_not_there_is_named(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigurationError, match=r"nowhere.*: no such file"):
        await ClusterClient.connect(tmp_path / "nowhere")
