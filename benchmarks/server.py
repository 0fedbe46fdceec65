"""The API server, as a test and as `kfcore local` use it: creates, watch events and memory, direct and over HTTP.

Over HTTP the client is a process of its own, so that the server's processor time is counted alone.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.figure import Figure, best_of
from benchmarks.library import pod
from kfcore.api.codec import encode_json
from kfcore.api.core import Pod
from kfcore.api.meta import Manifest
from kfcore.apiserver.http import HttpServer
from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClient

PODS = "/api/v1/namespaces/default/pods"
COUNT = 3_000
TOKEN = "benchmark"
MIB = 1024 * 1024
ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


async def measure() -> list[Figure]:
    created, watched = await _over_http()

    def rate(what: str, seconds: float, budget: float | None) -> Figure:
        return Figure(what, 1 / seconds, budget, "/s", at_least=True)

    return [
        Figure("`ApiServer()`", await _construction() * 1e3, 20, "ms"),
        rate("pod creates, `ApiServer.handle`", await _direct_creates(), 10_000),
        rate("the same with a data directory", await _kept_creates(), None),
        rate("pod creates, `FakeClient`", await _client_creates(), None),
        rate("pods from a watch, `FakeClient`", await _client_watch(), None),
        rate("pod creates over HTTP", created, 1_500),
        rate("pods from a watch over HTTP", watched, None),
        Figure("memory of 10,000 pods of 2.7 KB in the API server", _memory() / MIB, 120, "MiB"),
    ]


def _new_pod(number: int) -> Manifest:
    container = {"name": "main", "image": "python:3.11", "command": ["python", "train.py"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod-{number}"},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }


BODIES = [encode_json(_new_pod(number)) for number in range(COUNT)]


async def _construction() -> float:
    async def work() -> None:
        await ApiServer().close()

    return await best_of(5, 1, work)


async def _create_all(server: ApiServer) -> None:
    for body in BODIES:
        answer = await server.handle(Request("POST", PODS, {}, {"content-type": "application/json"}, body))
        assert answer.status == 201, answer.body


async def _direct_creates() -> float:
    async def work() -> None:
        await _create_all(ApiServer())

    return await best_of(5, COUNT, work)


async def _kept_creates() -> float:
    """By 16 clients at once, which share commits, as the controllers of a cluster do."""

    async def client(server: ApiServer, bodies: list[bytes]) -> None:
        for body in bodies:
            answer = await server.handle(Request("POST", PODS, {}, {"content-type": "application/json"}, body))
            assert answer.status == 201, answer.body

    async def work() -> None:
        with tempfile.TemporaryDirectory() as directory:
            server = ApiServer(data_dir=Path(directory))
            async with asyncio.TaskGroup() as group:
                for first in range(16):
                    group.create_task(client(server, BODIES[first::16]))
            await server.close()

    return await best_of(3, COUNT, work)


async def _client_creates() -> float:
    async def work() -> None:
        client = FakeClient()
        for number in range(COUNT):
            await client.create(Pod, _new_pod(number), "default")

    return await best_of(5, COUNT, work)


async def _client_watch() -> float:
    """Until the client has decoded it; the creates are done before."""
    client = FakeClient()
    await _create_all(client.server)

    async def work() -> None:
        seen = 0
        async for _ in client.watch(Pod, "default", resource_version=str(client.server.storage.version - COUNT)):
            seen += 1
            if seen == COUNT:
                return

    return await best_of(5, COUNT, work)


async def _over_http() -> tuple[float, float]:
    """Processor seconds of the server for one create, and for one event of a watch."""
    best = [float("inf"), float("inf")]
    for _ in range(3):
        async with served() as (server, url), load(url, COUNT) as client:
            for index, verb in enumerate(("create", "watch")):
                best[index] = min(best[index], await processor_seconds(client, verb))
            assert len(server.storage.collection("pods")) == COUNT
    return best[0] / COUNT, best[1] / COUNT


async def processor_seconds(client: asyncio.subprocess.Process, verb: str) -> float:
    """What this process, the server's, spends while the client of `load` does something."""
    assert client.stdin is not None
    assert client.stdout is not None
    gc.collect()
    began = time.process_time()
    client.stdin.write(f"{verb}\n".encode())
    assert (await client.stdout.readline()) == b"done\n"
    return time.process_time() - began


@asynccontextmanager
async def served() -> AsyncIterator[tuple[ApiServer, str]]:
    server = ApiServer()
    http = HttpServer(server, token=TOKEN)
    await http.start()
    try:
        yield server, http.url
    finally:
        await http.stop()
        await server.close()


@asynccontextmanager
async def load(url: str, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A client in a process of its own, for `count` pods."""
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.load",
        url,
        TOKEN,
        str(count),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=ENVIRONMENT,
    )
    try:
        assert client.stdout is not None
        assert (await client.stdout.readline()) == b"ready\n"
        yield client
    finally:
        client.kill()
        await client.wait()


def _memory() -> float:
    """Bytes by which a fresh process grows with 10,000 running pods, their history and all."""
    code = "from benchmarks.server import print_growth; print_growth(10_000)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, check=True)
    return float(ended.stdout)


def print_growth(count: int) -> None:
    server = ApiServer()
    kind = server.kinds.at("", "v1", "pods")
    assert kind is not None

    def create(number: int) -> None:
        running = json.loads(json.dumps(pod(number)))  # no value is shared between two pods, as from a socket
        del running["metadata"]["resourceVersion"]
        status = running.pop("status")
        server.objects.create(kind, "default", running)
        name = running["metadata"]["name"]
        server.objects.update(kind, "default", name, lambda it: {**it, "status": status}, subresource="status")

    create(count)  # what is loaded with the first pod is not counted
    before = _resident()
    for number in range(count):
        create(number)
    gc.collect()
    print(_resident() - before)


def _resident() -> int:
    """What this process has in memory. Its peak would not do where /proc tells: a child inherits that of its parent."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes
