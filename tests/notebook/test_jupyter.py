"""A real Jupyter server on this machine: from the manifest to a cell's output, culling included."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from chromium import CHROMIUM, browser
from patience import PATIENCE, eventually

from kfcore.api.meta import Manifest, untyped
from kfcore.clock import Clock, SystemClock
from kfcore_local.cluster import LocalCluster
from kfcore_local.storage.kinds import Claim
from kfcore_notebook import Notebook

KFCORE = str(Path(sys.executable).with_name("kfcore"))
EXAMPLE = Path(__file__).parents[2] / "examples" / "notebook" / "jupyter.yaml"
NOTEBOOKS = untyped(Notebook.resource)
CLAIMS = untyped(Claim.resource)
STOPPED = "kubeflow-resource-stopped"
ACTIVE = "notebooks.kubeflow.org/last-activity"
CHECKED = "notebooks.kubeflow.org/last_activity_check_timestamp"
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
        async with asyncio.timeout(PATIENCE):
            while b"Ready" not in (line := await process.stdout.readline()):
                assert line, f"kfcore has ended: {said.decode()}"
                said += line
        rest = asyncio.create_task(process.stdout.read())  # who is not read cannot go on printing
        yield line.decode().split()[-1]
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            printed = await rest
            assert await process.wait() == 0, printed.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until_answers(session: aiohttp.ClientSession, url: str) -> None:
    """The server is there some seconds after its process."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with session.get(url) as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.25)


async def run_code(
    session: aiohttp.ClientSession,
    base: str,
    kernel: str,
    code: str,
    when_it_asks: Callable[[], Awaitable[None]] | None = None,
) -> str:
    """What a cell prints, over the kernel's WebSocket. A cell that asks for `input` has it after `when_it_asks`."""
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": True}
    printed = ""
    async with session.ws_connect(f"{base}/api/kernels/{kernel}/channels") as socket, asyncio.timeout(PATIENCE):
        await socket.send_str(a_message("execute_request", "shell", content))
        async for answer in socket:
            told = json.loads(answer.data)
            if told["parent_header"].get("msg_id") != "execute_request":
                continue  # of the kernel's start
            match told["header"]["msg_type"], told["content"]:
                case "stream", {"text": text}:
                    printed += text
                case "input_request", _:
                    assert when_it_asks is not None
                    await when_it_asks()
                    await socket.send_str(a_message("input_reply", "stdin", {"value": ""}))
                case "status", {"execution_state": "idle"}:
                    return printed
    raise AssertionError(f"the connection was closed; the cell had printed {printed!r}")


def a_message(type_: str, channel: str, content: Manifest) -> str:
    header = {"msg_id": type_, "msg_type": type_, "session": "s", "username": "", "version": "5.3"}
    return json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": channel})


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
        await page.until("location.pathname.endsWith('/lab') && !location.search.includes('token')")
        base = link.partition("/?")[0]
        await page.open(f"{base}/lab/tree/demo.ipynb")
        await page.until("document.querySelector('.jp-CodeCell .cm-content')")
        await page.until("document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')")

        async def run_the_cell() -> None:
            await page.value("document.querySelector('.jp-Dialog .jp-mod-accept')?.click()")
            await page.value("document.querySelector('.jp-CodeCell .cm-content').focus()")
            await page.press("Enter", 13, modifiers=8)

        await page.until(
            "document.querySelector('.jp-OutputArea-output')?.innerText?.includes('answer: 42')", trying=run_the_cell
        )


class ClockAhead(SystemClock):
    """Shows another time of day than the machine; what waits by it waits as long as ever."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead


@asynccontextmanager
async def a_cluster(
    environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, clock: Clock | None = None
) -> AsyncIterator[LocalCluster]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    async with LocalCluster(clock=clock) as cluster:
        yield cluster


def a_notebook(**spec: Any) -> Manifest:
    container = {"name": "jupyter", "image": "jupyter-scipy:1", **spec.pop("container", {})}
    return {"metadata": {"name": "jupyter"}, "spec": {"template": {"spec": {"containers": [container], **spec}}}}


async def read(cluster: LocalCluster) -> Manifest:
    return (await cluster.client.get(NOTEBOOKS, "jupyter", "default")).raw


def annotations(notebook: Manifest) -> dict[str, str]:
    return notebook["metadata"].get("annotations") or {}


async def set_stopped(cluster: LocalCluster, value: str | None) -> None:
    await cluster.client.patch(NOTEBOOKS, "jupyter", "default", {"metadata": {"annotations": {STOPPED: value}}})


async def until(cluster: LocalCluster, stopped: bool, ready: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        notebook = await read(cluster)
        if (STOPPED in annotations(notebook)) == stopped and (notebook.get("status") or {}).get(
            "readyReplicas"
        ) == ready:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"not within {PATIENCE} s; the notebook is {notebook}")


async def stays_through_two_checks(cluster: LocalCluster) -> None:
    """The culler has looked at it, twice from here on, and has not stopped it."""
    seen: set[str] = set()
    async with asyncio.timeout(PATIENCE):
        while len(seen) < 4:  # the one of before, one that may have been under way, and two
            notebook = await read(cluster)
            assert STOPPED not in annotations(notebook)
            seen.add(annotations(notebook).get(CHECKED, ""))
            await asyncio.sleep(0.05)
    assert notebook["status"]["readyReplicas"] == 1


async def test_a_busy_kernel_keeps_the_server_and_an_idle_one_does_not_and_it_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half an hour of idleness may pass, and does so when the test says: the cluster's clock is put ahead."""
    period = {"ENABLE_CULLING": "true", "CULL_IDLE_TIME": "30", "IDLENESS_CHECK_PERIOD": "0.01"}
    clock = ClockAhead()
    async with a_cluster(period, monkeypatch, clock) as cluster:
        gateway = cluster.gateway
        assert gateway is not None
        await cluster.client.create(NOTEBOOKS, a_notebook(), "default")

        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            base = f"{gateway.url}{PATH}"
            await until_answers(session, gateway.link(f"{PATH}/"))
            async with session.post(f"{base}/api/kernels") as answer:
                kernel = (await answer.json())["id"]

            async def works() -> bool:
                async with session.get(f"{base}/api/kernels/{kernel}") as answer:
                    return bool((await answer.json())["execution_state"] == "busy")

            async def hours_pass_in_work() -> None:
                # The server knows of it a moment after the cell has begun, and who had asked it before then would take
                # it for idle all those hours.
                await eventually(works, "the server says that the kernel works")
                await stays_through_two_checks(cluster)
                clock.ahead += timedelta(hours=2)
                now = f"{clock.now():%FT%TZ}"

                async def was_seen_in_work() -> bool:
                    return annotations(await read(cluster)).get(ACTIVE, "") >= now

                await eventually(was_seen_in_work, "a look at the server while it works")
                await stays_through_two_checks(cluster)

            cell = "input('for how long? '); print('done')"
            assert await run_code(session, base, kernel, cell, hours_pass_in_work) == "done\n"
        await stays_through_two_checks(cluster)  # idle, but not for half an hour
        clock.ahead += timedelta(hours=2)
        await until(cluster, stopped=True, ready=0)
        await set_stopped(cluster, None)
        await until(cluster, stopped=False, ready=1)
        await stays_through_two_checks(cluster)


async def test_a_claim_mounted_as_home_keeps_files_over_stop_and_start(monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [{"name": "home", "mountPath": "/home/jovyan"}]
    volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}]
    container = {"command": ["sh", "-c", "pwd; echo started >> log; exec sleep 3600"], "volumeMounts": mounts}
    async with a_cluster({}, monkeypatch) as cluster:
        manifest = a_notebook(container=container, volumes=volumes, terminationGracePeriodSeconds=1)
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}

        async def until_started(times: int) -> None:
            """It runs a moment before it writes."""
            async with asyncio.timeout(PATIENCE):
                while written(cluster) != [["started"] * times]:  # noqa: ASYNC110 - another process writes
                    await asyncio.sleep(0.1)

        await cluster.client.create(CLAIMS, {"metadata": {"name": "home"}, "spec": claim}, "default")
        await cluster.client.create(NOTEBOOKS, manifest, "default")
        await until(cluster, stopped=False, ready=1)
        await until_started(1)
        await set_stopped(cluster, "now")
        await until(cluster, stopped=True, ready=0)
        await set_stopped(cluster, None)
        await until(cluster, stopped=False, ready=1)
        await until_started(2)


def written(cluster: LocalCluster) -> list[list[str]]:
    """The lines of the logs in the cluster's volumes."""
    return [path.read_text().splitlines() for path in cluster.kubeconfig.parent.rglob("volumes/*/log")]
