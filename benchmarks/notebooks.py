"""What notebooks cost: requests from created to ready, and one round of culling over 1,000 whose servers take 50 ms.
API server, operator and the notebooks' servers share this process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from benchmarks.figure import Figure
from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.clock import SystemClock
from kfcore.controller.manager import Manager
from kfcore.jobs.options import OperatorOptions
from kfcore.services import OpenedService
from kfcore.testing import FakeClient
from kfcore_notebook import Notebook, NotebookController
from kfcore_notebook.api import LAST_ACTIVITY, LAST_CHECK
from kfcore_notebook.children import StatefulSet
from kfcore_notebook.settings import NotebookSettings
from kfcore_notebook.setup import set_up

NOTEBOOKS, ANSWER_SECONDS = 1_000, 0.05
RAW, PODS = untyped(Notebook.resource), untyped(Pod.resource)
LONG_AGO = "2024-01-01T00:00:00Z"


async def measure() -> list[Figure]:
    requests = await _life()
    seconds, steady = await _round()
    return [
        Figure("Notebook from created to ready: requests of the operator", requests, 4, ""),
        Figure("1,000 notebooks: one round of culling, servers of 50 ms", seconds, 5, "s"),
        Figure("requests in the 3 s after that round", steady, 0, ""),
    ]


async def _life() -> float:
    client = FakeClient(clock=SystemClock())
    async with _operator(client, NotebookSettings(), "http://127.0.0.1:1"):
        await client.create(RAW, _notebook("nb", {}), "default")
        await asyncio.sleep(0.2)
        await client.create(PODS, _pod("nb"), "default")
        await client.patch(PODS, "nb-0", "default", {"status": _pod("nb")["status"]}, subresource="status")
        ready = {"status": {"replicas": 1, "readyReplicas": 1}}
        await client.patch(StatefulSet, "nb", "default", ready, subresource="status")
        await asyncio.sleep(1.5)
    ours = [
        (method, path)
        for method, path in client.requests
        if (method == "POST" and path.endswith(("statefulsets", "services"))) or path.endswith("notebooks/nb/status")
    ]
    assert (await client.get(RAW, "nb", "default")).raw["status"]["readyReplicas"] == 1
    return len(ours)


async def _round() -> tuple[float, float]:
    """Seconds from the first to the last patch of a round, and requests afterwards."""
    noted = {LAST_ACTIVITY: LONG_AGO, LAST_CHECK: LONG_AGO}
    objects = [_notebook(f"nb-{number}", noted) for number in range(NOTEBOOKS)]
    objects += [_pod(f"nb-{number}") for number in range(NOTEBOOKS)]
    client = FakeClient(clock=SystemClock())
    async with _servers() as url:
        async with _operator(client, NotebookSettings(), url):  # their children first: the round is what is measured
            for manifest in objects:
                kind = RAW if manifest["kind"] == "Notebook" else PODS
                await client.create(kind, manifest, "default")
                if kind is PODS:
                    name, status = manifest["metadata"]["name"], {"status": manifest["status"]}
                    await client.patch(PODS, name, "default", status, subresource="status")
            await _quiet(client)
        client.requests.clear()
        settings = NotebookSettings(culling=True, check_seconds=3600, idle_seconds=1e9)
        async with _operator(client, settings, url):
            began = time.perf_counter()
            polled = 0
            while polled < NOTEBOOKS:
                await asyncio.sleep(0.05)
                polled = sum(request == "PATCH" and not path.endswith("/status") for request, path in client.requests)
            seconds = time.perf_counter() - began
            await _quiet(client)
            client.requests.clear()
            await asyncio.sleep(3)
            return seconds, sum(method != "GET" for method, _ in client.requests)


async def _quiet(client: FakeClient) -> None:
    before = -1
    while len(client.requests) != before:
        before = len(client.requests)
        await asyncio.sleep(1)


@asynccontextmanager
async def _operator(client: FakeClient, settings: NotebookSettings, url: str) -> AsyncIterator[None]:
    manager = Manager(client, clock=SystemClock())
    options = OperatorOptions(service_door=lambda namespace, service, port: OpenedService(url))
    set_up(NotebookController, manager, options, settings)
    running = asyncio.create_task(manager.run())
    try:
        yield
    finally:
        manager.stop()
        await running


@asynccontextmanager
async def _servers() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(ANSWER_SECONDS)
        return web.json_response([{"execution_state": "idle", "last_activity": LONG_AGO}])

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _notebook(name: str, annotations: dict[str, str]) -> Manifest:
    spec = {"template": {"spec": {"containers": [{"name": name, "image": "jupyter:1"}]}}}
    metadata = {"name": name, "annotations": annotations}
    return {"apiVersion": "kubeflow.org/v1", "kind": "Notebook", "metadata": metadata, "spec": spec}


def _pod(name: str) -> Manifest:
    labels = {"notebook-name": name, "statefulset": name}
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": LONG_AGO}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-0", "labels": labels},
        "spec": {"containers": [{"name": name, "image": "jupyter:1"}]},
        "status": status,
    }
