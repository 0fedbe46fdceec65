"""A real Jupyter server on this machine: from the manifest to a cell's output, culling included."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from chromium import CHROMIUM, browser

from kfcore.api.meta import Manifest, untyped
from kfcore_local.cluster import LocalCluster
from kfcore_local.storage.kinds import Claim
from kfcore_notebook import Notebook

KFCORE = str(Path(sys.executable).with_name("kfcore"))
EXAMPLE = Path(__file__).parents[2] / "examples" / "notebook" / "jupyter.yaml"
NOTEBOOKS = untyped(Notebook.resource)
CLAIMS = untyped(Claim.resource)
STOPPED = "kubeflow-resource-stopped"
PATH = "/notebook/default/jupyter"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("jupyterlab") is None, reason="jupyterlab is not installed"),
]


@asynccontextmanager
async def served(manifest: Path) -> AsyncIterator[str]:
    """`kfcore local run` while the block runs; the link that it prints."""
    process = await asyncio.create_subprocess_exec(
        KFCORE, "local", "run", str(manifest), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    try:
        said = b""
        async with asyncio.timeout(60):
            while b"Ready" not in (line := await process.stdout.readline()):
                assert line, f"kfcore has ended: {said.decode()}"
                said += line
        yield line.decode().split()[-1]
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        if process.returncode is None:
            process.kill()


async def until_answers(session: aiohttp.ClientSession, url: str) -> None:
    """The server is there some seconds after its process."""
    for _ in range(240):
        async with session.get(url) as response:
            if response.status == 200:
                return
        await asyncio.sleep(0.25)
    raise AssertionError(f"{url} does not answer")


async def run_code(session: aiohttp.ClientSession, base: str, kernel: str, code: str) -> str:
    """What a cell prints, over the kernel's WebSocket."""
    header = {"msg_id": "1", "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    async with session.ws_connect(f"{base}/api/kernels/{kernel}/channels") as socket, asyncio.timeout(60):
        await socket.send_str(json.dumps(message))
        async for answer in socket:
            told = json.loads(answer.data)
            if told["header"]["msg_type"] == "stream":
                return str(told["content"]["text"])
    raise AssertionError("the kernel said nothing")


async def test_the_example_serves_a_page_and_a_kernel_through_the_gateway_until_interrupted() -> None:
    async with served(EXAMPLE) as link, aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        base = link.partition("/?")[0]
        assert base.endswith(PATH)
        await until_answers(session, link)
        async with session.get(f"{base}/lab") as page:
            assert "JupyterLab" in await page.text()
        async with session.post(f"{base}/api/kernels") as answer:
            kernel = (await answer.json())["id"]
        assert await run_code(session, base, kernel, "print(6 * 7)") == "42\n"
        async with aiohttp.ClientSession() as stranger, stranger.get(f"{base}/api/kernels") as refused:
            assert refused.status == 401


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
async def test_a_cell_runs_in_a_browser(tmp_path: Path) -> None:
    (tmp_path / "manifest").mkdir()
    manifest = tmp_path / "manifest" / "jupyter.yaml"
    manifest.write_text(EXAMPLE.read_text())
    cell = {"cell_type": "code", "source": "print('answer:', 6 * 7)", "metadata": {}, "outputs": [], "id": "a"}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {
        "cells": [{**cell, "execution_count": None}],
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (tmp_path / "manifest" / "demo.ipynb").write_text(json.dumps(notebook))
    async with served(manifest) as link, browser(tmp_path / "profile") as page:
        await page.open(link)
        await page.until("location.pathname.endsWith('/lab') && !location.search.includes('token')", 90)
        base = link.partition("/?")[0]
        await page.open(f"{base}/lab/tree/demo.ipynb")
        await page.until("document.querySelector('.jp-CodeCell .cm-content')", 90)
        await page.until("document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')")

        async def run_the_cell() -> None:
            await page.value("document.querySelector('.jp-Dialog .jp-mod-accept')?.click()")
            await page.value("document.querySelector('.jp-CodeCell .cm-content').focus()")
            await page.press("Enter", 13, modifiers=8)

        await page.until(
            "document.querySelector('.jp-OutputArea-output')?.innerText?.includes('answer: 42')", trying=run_the_cell
        )


@asynccontextmanager
async def a_cluster(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalCluster]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    async with LocalCluster() as cluster:
        yield cluster


def a_notebook(**spec: Any) -> Manifest:
    container = {"name": "jupyter", "image": "jupyter-scipy:1", **spec.pop("container", {})}
    return {"metadata": {"name": "jupyter"}, "spec": {"template": {"spec": {"containers": [container], **spec}}}}


async def until(cluster: LocalCluster, stopped: bool, ready: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        raw = (await cluster.client.get(NOTEBOOKS, "jupyter", "default")).raw
        is_stopped = STOPPED in (raw["metadata"].get("annotations") or {})
        if is_stopped == stopped and (raw.get("status") or {}).get("readyReplicas") == ready:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"not within {seconds} s; the notebook is {raw}")


async def test_a_busy_kernel_keeps_the_server_and_an_idle_one_does_not_and_it_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    period = {"ENABLE_CULLING": "true", "CULL_IDLE_TIME": "0.1", "IDLENESS_CHECK_PERIOD": "0.01"}
    async with a_cluster(period, monkeypatch) as cluster:
        gateway = cluster.gateway
        assert gateway is not None
        await cluster.client.create(NOTEBOOKS, a_notebook(), "default")
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            base = f"{gateway.url}{PATH}"
            await until_answers(session, gateway.link(f"{PATH}/"))
            async with session.post(f"{base}/api/kernels") as answer:
                kernel = (await answer.json())["id"]
            busy = asyncio.create_task(run_code(session, base, kernel, "import time; time.sleep(9); print('done')"))
            assert await busy == "done\n"  # busy for longer than the idle time, and still there
            await until(cluster, stopped=True, ready=0, seconds=30)
        await cluster.client.patch(NOTEBOOKS, "jupyter", "default", {"metadata": {"annotations": {STOPPED: None}}})
        await until(cluster, stopped=False, ready=1)
        await asyncio.sleep(3)
        await until(cluster, stopped=False, ready=1, seconds=0.5)


async def test_a_claim_mounted_as_home_keeps_files_over_stop_and_start(monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [{"name": "home", "mountPath": "/home/jovyan"}]
    volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}]
    container = {"command": ["sh", "-c", "pwd; echo started >> log; exec sleep 100"], "volumeMounts": mounts}
    async with a_cluster({}, monkeypatch) as cluster:
        manifest = a_notebook(container=container, volumes=volumes, terminationGracePeriodSeconds=1)
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        await cluster.client.create(CLAIMS, {"metadata": {"name": "home"}, "spec": claim}, "default")
        await cluster.client.create(NOTEBOOKS, manifest, "default")
        await until(cluster, stopped=False, ready=1)
        await cluster.client.patch(NOTEBOOKS, "jupyter", "default", {"metadata": {"annotations": {STOPPED: "now"}}})
        await until(cluster, stopped=True, ready=0)
        await cluster.client.patch(NOTEBOOKS, "jupyter", "default", {"metadata": {"annotations": {STOPPED: None}}})
        await until(cluster, stopped=False, ready=1)
        written = list(cluster.kubeconfig.parent.rglob("volumes/*/log"))
        assert [path.read_text().splitlines() for path in written] == [["started", "started"]]
