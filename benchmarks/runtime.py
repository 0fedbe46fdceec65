"""What an operator costs against an API server in another process: lists, events, requests, reconciles, and rest."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from benchmarks.figure import Figure
from benchmarks.serve import TOKEN
from kfcore.api.core import Pod
from kfcore.apiserver.kubeconfig import write_kubeconfig
from kfcore.cache.cache import Cache
from kfcore.client.cluster import ClusterClient
from kfcore.clock import SystemClock
from kfcore.controller.controller import Request
from kfcore.controller.manager import Manager
from kfcore.controller.workqueue import WorkQueue

PODS = 10_000
PODS_TO_RECONCILE = 2_000
EVENTS = 20_000
IN_FLIGHT = 64
ROUNDS = 16
IDLE_SECONDS = 15


async def measure() -> list[Figure]:
    figures = [Figure("work queue: keys a second, of 100,000 that wait", await _queue(), None, "/s")]
    with _serving("recording", EVENTS) as url:
        figures += await _requests(url)
        figures.append(Figure("watch events a second, one informer over HTTP", await _events(url), None, "/s"))
    with _serving("cluster", PODS) as url, tempfile.TemporaryDirectory() as directory:
        kubeconfig = Path(directory) / "kubeconfig"
        write_kubeconfig(kubeconfig, url, TOKEN)
        figures += _lists(kubeconfig)
        figures += _operator(kubeconfig)
    with _serving("cluster", PODS_TO_RECONCILE) as url:
        what = "reconciles a second with one write each, over HTTP"
        figures.append(Figure(what, await _reconciles(url), None, "/s"))
    return figures


@contextmanager
def _serving(what: str, count: int) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.serve", what, str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            url = process.stdout.readline().strip()
            assert url, f"{' '.join(command)} did not start"
            yield url
        finally:
            process.kill()


async def _queue() -> float:
    count = 100_000
    keys = [f"default/job-{number}" for number in range(count)]
    best = float("inf")
    for _ in range(3):
        queue: WorkQueue[str] = WorkQueue(SystemClock())
        began = time.process_time()
        for key in keys:
            queue.add(key)
        for _ in keys:
            queue.done(await queue.get())
        best = min(best, time.process_time() - began)
    return count / best


async def _requests(url: str) -> list[Figure]:
    """In turns, so that whatever else the machine does befalls both."""
    path = "/api/v1/namespaces/default/pods/a"
    connector = aiohttp.TCPConnector(limit=512)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        await ClusterClient.at(url, token=TOKEN) as client,
    ):

        async def plain() -> None:
            async with session.get(url + path, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
                await answer.read()

        async def ours() -> None:
            await client.get(Pod, "a", "default")

        rates: dict[Callable[[], Awaitable[None]], list[tuple[float, float]]] = {plain: [], ours: []}
        for _ in range(ROUNDS):
            for call, measured in rates.items():
                measured.append(await _per_second(call, 1_000))
    (plain_rate, plain_own), (our_rate, our_own) = (tuple(map(max, zip(*of, strict=True))) for of in rates.values())
    return [
        Figure(f"requests a second, {IN_FLIGHT} in flight, small object", our_rate, None, "/s"),
        Figure("… of bare aiohttp, which decodes nothing", plain_rate, None, "/s"),
        Figure("… the first as a part of the second", our_rate / plain_rate * 100, 85, "%", at_least=True),
        Figure("… the same by the client's own processor time", our_own / plain_own * 100, None, "%"),
    ]


async def _per_second(call: Callable[[], Awaitable[None]], count: int) -> tuple[float, float]:
    """By the clock, and by this process's own time, which the server's and others' do not change much."""
    turns = iter(range(count))

    async def work() -> None:
        for _ in turns:
            await call()

    began, own = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return count / (time.perf_counter() - began), count / (time.process_time() - own)


async def _events(url: str) -> float:
    async with await ClusterClient.at(url, token=TOKEN) as client:
        cache, done, seen = Cache(client), asyncio.Event(), 0

        def count(change: object) -> None:
            nonlocal seen
            seen += 1
            if seen == EVENTS:
                done.set()

        cache.informer(Pod).subscribe(count)
        task = asyncio.create_task(cache.run())
        await cache.wait_for_sync(30)
        began = time.perf_counter()
        await done.wait()
        taken = time.perf_counter() - began
        task.cancel()
        await asyncio.wait([task])
    return EVENTS / taken


def _lists(kubeconfig: Path) -> list[Figure]:
    figures = []
    for name in ("kfcore", "kubernetes-asyncio", "kr8s"):
        what = f"list, decode, store {PODS:,} pods: {name}"
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.lists", name, str(kubeconfig)], capture_output=True, text=True
        )
        if ended.returncode:
            why = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
            figures.append(Figure(what, None, None, why))
            continue
        took = json.loads(ended.stdout)
        assert took["count"] == PODS, took
        figures += [
            Figure(what, took["s"], None, "s"),
            Figure("… processor time", took["cpu"], None, "s"),
            Figure("… memory that stays", took["mib"], None, "MiB"),
        ]
    return figures


def _operator(kubeconfig: Path) -> list[Figure]:
    """`kfcore operator` with every plugin, and nothing to do."""
    memory, peak, idle = (
        f"operator with {PODS:,} cached pods: memory",
        "… at its peak, while it lists them",
        f"operator with {PODS:,} cached pods: idle processor time",
    )
    if not Path("/proc/self/stat").exists():
        return [Figure(what, None, None, "needs /proc") for what in (memory, peak, idle)]
    command = [str(Path(sys.executable).with_name("kfcore")), "operator", "--kubeconfig", str(kubeconfig)]
    command += ["--metrics-bind-address", "0", "--health-probe-bind-address", "0", "--log-format", "json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            while "manager.started" not in (line := process.stderr.readline()):
                assert line, "the operator ended"
            time.sleep(5)
            began = _processor_seconds(process.pid)
            time.sleep(IDLE_SECONDS)
            used = (_processor_seconds(process.pid) - began) / IDLE_SECONDS * 100
            now, most = (_megabytes(process.pid, field) for field in ("VmRSS", "VmHWM"))
        finally:
            process.kill()
    return [
        Figure(memory, now, 120, "MB"),
        Figure(peak, most, None, "MB"),
        Figure(idle, used, 0.5, "% of a core"),
    ]


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _megabytes(pid: int, field: str) -> float:
    """Of the process itself: unlike getrusage's, its peak begins with the program."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024 / 1e6


class _Annotates:
    """Writes once to each pod."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self.left = PODS_TO_RECONCILE
        self.done = asyncio.Event()

    async def reconcile(self, request: Request) -> None:
        pod = await self._manager.cache.get(Pod, request.name, request.namespace)
        if pod.metadata.annotations.get("seen"):
            return
        body = {"metadata": {"annotations": {"seen": "yes"}}}
        await self._manager.client.patch(Pod, request.name, request.namespace, body)
        self.left -= 1
        if self.left == 0:
            self.done.set()


async def _reconciles(url: str) -> float:
    async with await ClusterClient.at(url, token=TOKEN) as client:
        manager = Manager(client)
        reconciler = _Annotates(manager)
        manager.add_controller(reconciler, Pod, workers=16)
        began = time.perf_counter()
        task = asyncio.create_task(manager.run())
        await reconciler.done.wait()
        taken = time.perf_counter() - began
        manager.stop()
        await task
    return PODS_TO_RECONCILE / taken
