"""The in-process API over a real socket: who gets in, what streams, and what is refused."""

from __future__ import annotations

import asyncio
import gzip
import re
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kfcore.api.codec import decode_json
from kfcore.apiserver.authentication import User
from kfcore.apiserver.http import BODY_LIMIT, HttpServer
from kfcore.apiserver.kubeconfig import write_kubeconfig
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.server import ApiServer

TOKEN = "a-token-for-tests"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def a_config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    yield server
    await server.close()


@pytest.fixture
async def http(api: ApiServer) -> AsyncIterator[HttpServer]:
    server = HttpServer(api, token=TOKEN)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def session(http: HttpServer) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(http.url, headers=headers, auto_decompress=False) as session:
        yield session


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])
def test_an_address_that_others_could_reach_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="listens on loopback"):
        HttpServer(ApiServer(), token=TOKEN, host=host)


def test_a_server_without_a_token_is_refused() -> None:
    with pytest.raises(ValueError, match="token"):
        HttpServer(ApiServer(), token="")


async def test_a_call_without_the_token_is_unauthorized(http: HttpServer) -> None:
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": "Bearer é"}, {"Authorization": "Basic YTpi"}):
        async with aiohttp.ClientSession(http.url, headers=headers) as stranger, stranger.get(CONFIG_MAPS) as answer:
            assert answer.status == 401
            assert (await answer.json())["reason"] == "Unauthorized"
    async with aiohttp.ClientSession(http.url) as stranger, stranger.get(CONFIG_MAPS) as answer:
        assert answer.status == 403
        assert 'User "system:anonymous" cannot list resource "configmaps"' in (await answer.json())["message"]


async def test_the_token_may_come_in_the_path_as_kubectl_sends_no_credentials_without_tls(http: HttpServer) -> None:
    async with aiohttp.ClientSession() as stranger:
        async with stranger.get(f"{http.url}/{TOKEN}{CONFIG_MAPS}") as answer:
            assert answer.status == 200
        async with stranger.get(f"{http.url}/{TOKEN}x{CONFIG_MAPS}") as answer:
            assert answer.status == 403


async def test_health_and_version_need_no_token(http: HttpServer) -> None:
    async with aiohttp.ClientSession(http.url) as stranger:
        for path in ("/healthz", "/livez", "/readyz", "/version"):
            async with stranger.get(path) as answer:
                assert answer.status == 200


async def test_another_host_name_is_forbidden_even_with_the_token(
    session: aiohttp.ClientSession, http: HttpServer
) -> None:
    port = http.url.rpartition(":")[2]
    for host in ("evil.example.com", f"evil.example.com:{port}", "127.0.0.1", "127.0.0.1:1"):
        async with session.get(CONFIG_MAPS, headers={"Host": host}) as answer:
            assert answer.status == 403
    async with session.get(CONFIG_MAPS, headers={"Host": f"localhost:{port}"}) as answer:
        assert answer.status == 200


async def test_an_object_travels_there_and_back(session: aiohttp.ClientSession) -> None:
    async with session.post(CONFIG_MAPS, json=a_config_map("c", key="väl ue")) as answer:
        assert answer.status == 201
    async with session.get(f"{CONFIG_MAPS}/c") as answer:
        assert (await answer.json())["data"] == {"key": "väl ue"}
    async with session.get(CONFIG_MAPS, params={"fieldSelector": "metadata.name=c"}) as answer:
        assert [item["metadata"]["name"] for item in (await answer.json())["items"]] == ["c"]


async def test_a_body_over_the_limit_is_refused_with_a_status(session: aiohttp.ClientSession) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(BODY_LIMIT // 65536 + 2):
            yield b" " * 65536

    for body in (b" " * (BODY_LIMIT + 1), chunks()):
        try:
            async with session.post(CONFIG_MAPS, data=body) as answer:
                assert answer.status == 413
                assert (await answer.json())["reason"] == "RequestEntityTooLarge"
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
            pass  # the server may close while the body is still on its way


async def test_a_large_answer_is_compressed_for_those_who_ask(session: aiohttp.ClientSession) -> None:
    async with session.post(CONFIG_MAPS, json=a_config_map("big", key="x" * 200_000)) as answer:
        assert answer.status == 201
    async with session.get(f"{CONFIG_MAPS}/big", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        body = await answer.read()
        assert len(body) < 20_000
        assert decode_json(gzip.decompress(body))["metadata"]["name"] == "big"
    async with session.get(f"{CONFIG_MAPS}/big", headers={"Accept-Encoding": "identity"}) as answer:
        assert "Content-Encoding" not in answer.headers


async def test_a_watch_says_each_change_as_it_happens(session: aiohttp.ClientSession) -> None:
    async with session.get(CONFIG_MAPS, params={"watch": "true"}) as watch:
        for index in range(3):
            async with session.post(CONFIG_MAPS, json=a_config_map(f"c{index}")):
                pass
            async with asyncio.timeout(60):
                event = decode_json(await watch.content.readline())
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", f"c{index}")


class Endless:
    """Answers everything with a stream that never says anything; `ended` is set when the server stops reading it."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def handle(self, request: Request) -> Response:
        return Response(200, {}, self._silence())

    def authenticate(self, token: str) -> User | None:
        return None

    async def _silence(self) -> AsyncIterator[bytes]:
        try:
            await asyncio.Event().wait()
            yield b""
        finally:
            self.ended.set()


async def test_a_silent_stream_ends_when_its_client_goes_away() -> None:
    endless = Endless()
    server = HttpServer(endless, token=TOKEN)
    await server.start()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as session, session.get(CONFIG_MAPS):
        assert not endless.ended.is_set()
    async with asyncio.timeout(60):
        await endless.ended.wait()
    await server.stop()


async def test_stopping_ends_open_watches_at_once(api: ApiServer) -> None:
    server = HttpServer(api, token=TOKEN)
    await server.start()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as session:
        watch = await session.get(CONFIG_MAPS, params={"watch": "true"})
        async with asyncio.timeout(60):
            await server.stop()
            with suppress(aiohttp.ClientError):
                assert await watch.content.read() == b""


async def test_hundreds_of_clients_are_served_at_once(http: HttpServer) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(http.url, headers=headers, connector=connector) as session:

        async def create(index: int) -> int:
            async with session.post(CONFIG_MAPS, json=a_config_map(f"c{index}")) as answer:
                return answer.status

        assert set(await asyncio.gather(*map(create, range(400)))) == {201}


async def test_a_unix_socket_serves_its_owner_only(tmp_path: Path, api: ApiServer) -> None:
    path = tmp_path / "api.sock"
    server = HttpServer(api, token=TOKEN, host=str(path))
    await server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    connector = aiohttp.UnixConnector(str(path))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession("http://localhost", connector=connector, headers=headers) as session,
        session.get(CONFIG_MAPS) as answer,
    ):
        assert answer.status == 200
    await server.stop()
    assert not path.exists()


def test_a_kubeconfig_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    write_kubeconfig(path, "http://127.0.0.1:1234", TOKEN)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config = decode_json(path.read_bytes())
    assert config["clusters"][0]["cluster"]["server"] == f"http://127.0.0.1:1234/{TOKEN}"
    assert config["users"][0]["user"]["token"] == TOKEN
    assert [entry.name for entry in path.parent.iterdir()] == ["config"]


async def test_the_log_of_one_of_several_containers_must_be_named(session: aiohttp.ClientSession) -> None:
    containers = [{"name": name, "image": "busybox"} for name in "ab"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}}
    pods = "/api/v1/namespaces/default/pods"
    async with session.post(pods, json=pod) as answer:
        assert answer.status == 201
    async with session.get(f"{pods}/p/log") as answer:
        assert answer.status == 400
        expected = "a container name must be specified for pod p, choose one of: [a b]"
        assert (await answer.json())["message"] == expected
    async with session.get(f"{pods}/p/log", params={"container": "a", "tailLines": "-1"}) as answer:
        assert answer.status == 422
        assert "tailLines: Invalid value: -1" in (await answer.json())["message"]
    async with session.get(f"{pods}/p/log", params={"container": "a"}) as answer:
        assert answer.status == 204  # not scheduled yet


async def test_a_protobuf_body_of_a_kind_that_kubectl_builds_is_read(session: aiohttp.ClientSession) -> None:
    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    identity = field(1, b"v1") + field(2, b"ConfigMap")
    config_map = field(1, field(1, b"c")) + field(2, field(1, b"key") + field(2, b"value"))
    headers = {"Content-Type": "application/vnd.kubernetes.protobuf"}
    async with session.post(
        CONFIG_MAPS, data=b"k8s\x00" + field(1, identity) + field(2, config_map), headers=headers
    ) as answer:
        assert answer.status == 201
        assert (await answer.json())["data"] == {"key": "value"}
    for broken in (b"", b"k8s\x00", b"k8s\x00\x0a\xff", b'{"a":1}'):
        async with session.post(CONFIG_MAPS, data=broken, headers=headers) as answer:
            assert answer.status == 400
    async with session.post(
        CONFIG_MAPS, data=b"k8s\x00" + field(1, identity) + field(2, field(15, b"new")), headers=headers
    ) as answer:
        assert answer.status == 415


async def test_a_path_that_is_not_text_is_an_answer_and_no_failure(http: HttpServer) -> None:
    host, _, port = http.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"Host: {host}:{port}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    for path in (
        b"/api/v1/namespaces/default/pods/%ff%fe%2f..",
        b"/%00",
        b"//api",
        b"/api/v1/pods?labelSelector=%fe",
    ):
        writer.write(b"GET " + path + b" HTTP/1.1\r\n" + head)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert int(answer.split()[1]) in (200, 400, 404), answer
        length = re.search(rb"content-length: (\d+)", answer.lower())
        assert length is not None
        await reader.readexactly(int(length[1]))
    writer.close()
