"""Tokens, certificates and authorities change while an operator runs, and it goes on without a restart."""

import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from certificates import self_signed

from kfcore.api.core import Pod
from kfcore.apiserver.kubeconfig import write_kubeconfig
from kfcore.client.cluster import ClusterClient, ConfigurationError
from kfcore.client.configuration import load_library
from kfcore.client.errors import ConnectionFailed, NotTrusted, Unauthorized
from kfcore.client.retry import RetryPolicy

ONE_TRY = RetryPolicy(attempts=1)


class Server:
    """No pods, for who has the `token`; with a certificate, over TLS."""

    def __init__(self, token: str, certificate: Path | None = None) -> None:
        self.token = token
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if certificate else None
        if certificate:
            self.show(certificate)

    def show(self, certificate: Path) -> None:
        """The certificate of connections from now on."""
        assert self.context
        self.context.load_cert_chain(certificate, certificate.with_suffix(".key"))

    async def handle(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"kind": "Status", "reason": "Unauthorized", "code": 401}, status=401)
        if "watch" in request.query:
            return web.Response(body=b"")
        response = web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []})
        response.force_close()  # so that the next request makes a connection, and shakes hands
        return response

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """Its port."""
        runner = web.ServerRunner(web.Server(self.handle))  # type: ignore[arg-type]
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.context).start()
        yield runner.addresses[0][1]
        await runner.cleanup()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


async def test_a_token_that_changed_in_the_kubeconfig_is_taken_up(tmp_path: Path) -> None:
    server, config = Server("old"), tmp_path / "config"
    async with server.running() as port:
        write_kubeconfig(config, f"http://127.0.0.1:{port}", "old")
        async with await ClusterClient.connect(config, retry=ONE_TRY) as client:
            await client.list(Pod)
            server.token = "new"
            with pytest.raises(Unauthorized):
                await client.list(Pod)
            write_kubeconfig(config, f"http://127.0.0.1:{port}", "new")
            assert await client.list(Pod) == []


async def test_a_watch_that_is_refused_takes_the_new_token_at_its_next_try(tmp_path: Path) -> None:
    server, config = Server("old"), tmp_path / "config"
    async with server.running() as port:
        write_kubeconfig(config, f"http://127.0.0.1:{port}", "old")
        async with await ClusterClient.connect(config, retry=ONE_TRY) as client:
            server.token = "new"
            write_kubeconfig(config, f"http://127.0.0.1:{port}", "new")
            with pytest.raises(Unauthorized):
                assert [event async for event in client.watch(Pod)] == []
            assert [event async for event in client.watch(Pod)] == []


async def test_a_kubeconfig_that_is_half_written_fails_the_call_and_not_the_operator(tmp_path: Path) -> None:
    server, config = Server("old"), tmp_path / "config"
    async with server.running() as port:
        write_kubeconfig(config, f"http://127.0.0.1:{port}", "old")
        async with await ClusterClient.connect(config, retry=ONE_TRY) as client:
            server.token = "new"
            for half in ("", "clusters: [{", "clusters: []"):
                config.write_text(half)
                with pytest.raises(ConnectionFailed, match="refused the credentials"):
                    await client.list(Pod)
            write_kubeconfig(config, f"http://127.0.0.1:{port}", "new")
            assert await client.list(Pod) == []


async def test_an_authority_that_changed_in_the_kubeconfig_is_taken_up(tmp_path: Path) -> None:
    config, first, second = tmp_path / "config", self_signed(tmp_path, "first"), self_signed(tmp_path, "second")
    server = Server("secret", first)
    async with server.running() as port:
        write_kubeconfig(config, f"https://127.0.0.1:{port}", "secret", authority=first.read_bytes())
        async with await ClusterClient.connect(config, retry=ONE_TRY) as client:
            await client.list(Pod)
            server.show(second)
            with pytest.raises(NotTrusted, match=r"cannot trust https://127\.0\.0\.1"):
                await client.list(Pod)
            write_kubeconfig(config, f"https://127.0.0.1:{port}", "secret", authority=second.read_bytes())
            assert await client.list(Pod) == []


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of the service account of a pod that this would run in."""
    library = sys.modules[load_library()[0].load_incluster_config.__module__]
    monkeypatch.setattr(library, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(library, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    return tmp_path


async def test_a_pod_s_token_that_was_replaced_is_taken_up(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server("old", self_signed(pod, "ca"))
    (pod / "token").write_text("old")
    async with server.running() as port:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        async with await ClusterClient.connect(retry=ONE_TRY) as client:
            await client.list(Pod)
            (pod / "token").write_text("new")
            server.token = "new"
            assert await client.list(Pod) == []


async def test_a_pod_s_token_counts_while_its_file_is_being_replaced(
    pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = sys.modules[load_library()[0].load_incluster_config.__module__]
    monkeypatch.setattr(library, "TOKEN_REFRESH_PERIOD", library.datetime.timedelta(0))  # read before each request
    server = Server("secret", self_signed(pod, "ca"))
    (pod / "token").write_text("secret")
    async with server.running() as port:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        async with await ClusterClient.connect(retry=ONE_TRY) as client:
            (pod / "token").unlink()
            assert await client.list(Pod) == []


@pytest.mark.parametrize("text", ["", "text", "[1]", "clusters: [{", "contexts: 3", "clusters: []\nusers:\n"])
async def test_what_is_no_kubeconfig_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(ConfigurationError, match=str(tmp_path / "config")):
        await ClusterClient.connect(tmp_path / "config")


WHAT_IS_LOADED = """
import sys
from kfcore.client.configuration import load_library

config, configuration, rest = load_library()
for module in list(sys.modules.values()):
    getattr(module, "__warningregistry__", None)  # as unittest does
assert "kubernetes_asyncio.client.models" not in sys.modules, "the models stay away"

import kubernetes_asyncio.watch
from kubernetes_asyncio import client
from kubernetes_asyncio.client import ApiClient, V1Pod

assert kubernetes_asyncio.config is config
assert client.rest is rest
assert client.Configuration is configuration.Configuration
assert isinstance(ApiClient, type)
assert client.CoreV1Api.__name__ == "CoreV1Api"
"""


def test_the_library_s_models_are_loaded_only_for_who_asks_for_them() -> None:
    ended = subprocess.run([sys.executable, "-c", WHAT_IS_LOADED], capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
