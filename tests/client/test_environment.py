"""What a client takes from its environment, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from test_http_transport import a_server

from kfcore.api.core import Pod
from kfcore.apiserver.kubeconfig import write_kubeconfig
from kfcore.client.cluster import ClusterClient

PROXY_VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")


class Asked:
    """A server of no pods that remembers how it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.authorization = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.url, self.authorization = str(request.url), request.headers["Authorization"]
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory of the test's own, and no proxy."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


async def list_pods(home: Path, server: str) -> None:
    write_kubeconfig(home / "config", server, "secret")
    async with await ClusterClient.connect(home / "config") as client:
        await client.list(Pod)


async def test_requests_go_by_the_proxy_that_the_environment_names(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Asked()
    async with a_server(proxy.handle) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        await list_pods(home, "http://cluster.example")
    assert proxy.url.startswith("http://cluster.example/")


async def test_no_proxy_stands_before_a_server_that_the_environment_excepts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Asked()
    async with a_server(server.handle) as url:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        await list_pods(home, url)
    assert server.url.startswith(url)


async def test_a_password_for_the_host_in_netrc_does_not_disturb_a_token(home: Path) -> None:
    server = Asked()
    (home / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    (home / ".netrc").chmod(0o600)
    async with a_server(server.handle) as url:
        await list_pods(home, url)
    assert server.authorization == "Bearer secret"
