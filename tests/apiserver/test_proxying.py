"""Requests that go through the API server to what listens in a pod."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from conversing import MERGE, NAMESPACE, PODS, Conversation, OneServer

from kfcore.apiserver.http import HttpServer
from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock


@asynccontextmanager
async def a_cluster() -> AsyncIterator[tuple[Conversation, OneServer, list[bytes]]]:
    heads: list[bytes] = []
    answer = [b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-It: yes\r\n\r\n", b"hello"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        for part in answer:
            writer.write(part)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        kubelet = OneServer(listening.sockets[0].getsockname()[1], answer)
        ask = Conversation(ApiServer(clock=FakeClock(), pod_processes=kubelet))
        ports = [{"name": "http", "containerPort": 8080}]
        spec = {"containers": [{"name": "c", "image": "i", "ports": ports}]}
        await ask.created(PODS, {"metadata": {"name": "p", "labels": {"app": "a"}}, "spec": spec})
        service = {"selector": {"app": "a"}, "ports": [{"name": "web", "port": 80, "targetPort": "http"}]}
        await ask.created(f"{NAMESPACE}/services", {"metadata": {"name": "s"}, "spec": service})
        yield ask, kubelet, heads


async def get(ask: Conversation, path: str, query: str = "") -> tuple[int, dict[str, str], bytes]:
    headers = {"authorization": "Bearer secret", "x-mine": "1"}
    answer = await ask.server.handle(Request("GET", path, {}, headers, raw_query=query))
    if isinstance(answer.body, bytes):
        return answer.status, answer.headers, answer.body
    return answer.status, answer.headers, b"".join([chunk async for chunk in answer.body])


async def ready(ask: Conversation) -> None:
    condition = {"type": "Ready", "status": "True"}
    await ask("PATCH", f"{PODS}/p/status", {"status": {"phase": "Running", "conditions": [condition]}}, MERGE)


async def test_a_pod_is_asked_and_its_answer_comes_back() -> None:
    async with a_cluster() as (ask, kubelet, heads):
        status, headers, body = await get(ask, f"{PODS}/p:8080/proxy/a b/c", "q=1")
        assert (status, headers["x-it"], body) == (200, "yes", b"hello")
        assert heads[0].startswith(b"GET /a%20b/c?q=1 HTTP/1.0\r\n")
        assert b"x-mine: 1" in heads[0]
        assert b"secret" not in heads[0]
        await get(ask, f"{PODS}/p:http/proxy/")
        await get(ask, f"{PODS}/p/proxy/")
        assert kubelet.asked == [8080, 8080, 8080]


async def test_a_service_is_asked_through_a_pod_that_is_ready() -> None:
    async with a_cluster() as (ask, kubelet, _):
        said = await ask.refusal("GET", f"{NAMESPACE}/services/s:web/proxy/")
        assert said == '503 no endpoints available for service "s:web"'
        await ready(ask)
        for name in ("s", "s:80", "s:web", "http:s:web"):
            assert (await get(ask, f"{NAMESPACE}/services/{name}/proxy/"))[2] == b"hello"
        assert kubelet.asked == [8080] * 4


async def test_an_answer_in_chunks_is_put_together() -> None:
    async with a_cluster() as (ask, kubelet, _):
        kubelet.answer[:] = [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        ]
        assert (await get(ask, f"{PODS}/p:8080/proxy/"))[2] == b"abcde"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 10", b"abc"),
        (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n"),
        (b"Transfer-Encoding: chunked", b"9\r\nabc"),
    ],
)
async def test_the_answer_of_a_pod_that_ends_in_the_middle_is_not_taken_for_a_whole_one(
    head: bytes, body: bytes
) -> None:
    async with a_cluster() as (ask, kubelet, _):
        kubelet.answer[:] = [b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n", body]
        http = HttpServer(ask.server, token="secret")
        await http.start()
        try:
            headers = {"Authorization": "Bearer secret"}
            async with aiohttp.ClientSession(http.url, headers=headers) as session:
                async with session.get(f"{PODS}/p:8080/proxy/") as answer:
                    with pytest.raises(aiohttp.ClientPayloadError):
                        await answer.read()
                kubelet.answer[:] = [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"abc"]
                async with session.get(f"{PODS}/p:8080/proxy/") as answer:
                    assert await answer.read() == b"abc"
        finally:
            await http.stop()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("p:9/proxy/", "503 error trying to reach service: [Errno 111] Connection refused"),
        ("p:other/proxy/", "400 pod p has no port named other"),
        ("https:p:8080/proxy/", "400 https: only http is proxied"),
        ("nobody/proxy/", '404 pods "nobody" not found'),
    ],
)
async def test_what_cannot_be_reached_is_told(path: str, said: str) -> None:
    async with a_cluster() as (ask, _, _):
        assert await ask.refusal("GET", f"{PODS}/{path}") == said
