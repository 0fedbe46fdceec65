"""Pages of servers in pods, in a real browser: by the printed link, through a Service, an Ingress and a WebSocket."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from chromium import CHROMIUM, browser
from patience import eventually

from kfcore.api.core import Pod, Service
from kfcore.api.meta import untyped
from kfcore_local.cluster import LocalCluster
from kfcore_local.gateway_routes import Ingress

POD, SERVICE = untyped(Pod.resource), untyped(Service.resource)
SERVER = """
import os
from aiohttp import WSMsgType, web

PAGE = '''<!doctype html><title>served by a pod</title><p id=answer></p><script>
const socket = new WebSocket(location.href.replace("http", "ws").replace(/[/]$/, "") + "/socket");
socket.onopen = () => socket.send("hello");
socket.onmessage = event => { document.getElementById("answer").textContent = event.data; };
</script>'''

async def page(request):
    return web.Response(text=PAGE, content_type="text/html")

async def socket(request):
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    async for message in answer:
        if message.type == WSMsgType.TEXT:
            await answer.send_str(message.data + " from " + os.environ["HOSTNAME"])
    return answer

application = web.Application()
for prefix in ("", "/shop"):
    application.router.add_get(prefix + "/socket", socket)
    application.router.add_get(prefix + "/", page)
web.run_app(application, host=os.environ["POD_IP"], port=8000, print=None)
"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]


@asynccontextmanager
async def serving() -> AsyncIterator[LocalCluster]:
    """A cluster with a server in a pod, a Service before it and an Ingress before that."""
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    container = {"name": "web", "image": "any", "command": [sys.executable, "-c", SERVER], "env": [address]}
    container["readinessProbe"] = {"tcpSocket": {"port": 8000}, "periodSeconds": 1, "timeoutSeconds": 60}
    pod: Any = {"metadata": {"name": "web-0", "labels": {"app": "web"}}, "spec": {"containers": [container]}}
    pod["spec"]["terminationGracePeriodSeconds"] = 1
    service = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]}
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rules = [{"http": {"paths": [{"path": "/shop", "pathType": "Prefix", "backend": backend}]}}]
    async with LocalCluster(without=["operator"]) as cluster:
        await cluster.client.create(POD, pod, "default")
        await cluster.client.create(SERVICE, {"metadata": {"name": "web"}, "spec": service}, "default")
        await cluster.client.create(Ingress, {"metadata": {"name": "web"}, "spec": {"rules": rules}}, "default")
        yield cluster


async def answers(cluster: LocalCluster, path: str) -> None:
    """Once the pod is ready, and the gateway knows."""
    assert cluster.gateway is not None
    url = cluster.gateway.url + path
    headers = {"Authorization": f"Bearer {cluster.gateway.token}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def answers() -> bool:
            async with session.get(url) as response:
                return response.status == 200

        await eventually(answers, f"{path} is served")


@pytest.mark.parametrize("path", ["/services/default/web/", "/shop/"])
async def test_a_page_and_its_websocket_reach_the_pod(tmp_path: Path, path: str) -> None:
    async with serving() as cluster, browser(tmp_path / "profile") as page:
        assert cluster.gateway is not None
        await answers(cluster, path)
        await page.open(cluster.gateway.link(path))
        await page.until("document.getElementById('answer')?.textContent === 'hello from web-0'")
        assert await page.value("document.title") == "served by a pod"
        assert "kfcore_token" not in await page.value("location.href")


async def test_a_browser_without_the_link_is_not_let_in(tmp_path: Path) -> None:
    async with serving() as cluster, browser(tmp_path / "profile") as page:
        assert cluster.gateway is not None
        await answers(cluster, "/services/default/web/")
        await page.open(cluster.gateway.url + "/services/default/web/")
        await page.until("document.body.innerText.includes('open the link that kfcore local has printed')")
