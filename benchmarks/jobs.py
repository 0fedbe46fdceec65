"""What jobs cost: 200 of them from their creation to their end, 1,000 that have ended, and an operator that restarts
over 5,000. API server, operator and the user who creates the jobs are a process each.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.figure import Figure
from benchmarks.jobs_server import job
from benchmarks.serve import TOKEN
from kfcore.apiserver.kubeconfig import write_kubeconfig

JOBS, PODS_OF_EACH = 200, 4
FINISHED, IDLE_SECONDS = 1_000, 20
RESTARTED_OVER = 5_000
CONNECTIONS = 16


async def measure() -> list[Figure]:
    return [*await _life(), _idle(), *_restart()]


class Cluster:
    """The server process; see `benchmarks.jobs_server`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url = self._answer()

    def ask(self, question: str) -> Any:
        assert self.process.stdin
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return json.loads(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline().strip()
        assert line, "the server ended"
        return line


class Operator:
    """The command, as it runs in a cluster."""

    def __init__(self, process: subprocess.Popen[str], metrics: str) -> None:
        self.process, self.metrics = process, metrics

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_megabytes(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", text)
        assert found
        return int(found[1]) / 1000

    def metric(self, name: str) -> float:
        """The sum of a metric over all its labels; 0 while the operator does not answer yet."""
        try:
            with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return 0
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name}{{"))

    def settled(self, reconciles: int) -> bool:
        done = self.metric("controller_runtime_reconcile_total")
        return done >= reconciles and self.metric("workqueue_depth") == 0


@contextmanager
def _cluster(jobs: int, state: str) -> Iterator[Cluster]:
    command = [sys.executable, "-m", "benchmarks.jobs_server", str(jobs), str(PODS_OF_EACH), state]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Cluster(process)
        finally:
            process.terminate()


@contextmanager
def _operator(cluster: Cluster, port: int = 18_642) -> Iterator[Operator]:
    metrics = f"127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as directory:
        kubeconfig = Path(directory) / "kubeconfig"
        write_kubeconfig(kubeconfig, cluster.url, TOKEN)
        command = [str(Path(sys.executable).with_name("kfcore")), "operator", "--kubeconfig", str(kubeconfig)]
        command += ["--kind", "PyTorchJob", "--workers", "8", "--kube-api-qps", "0", "--log-level", "warning"]
        with subprocess.Popen([*command, "--metrics-address", metrics], text=True) as process:
            try:
                yield Operator(process, metrics)
            finally:
                process.terminate()


async def _life() -> list[Figure]:
    with _cluster(0, "none") as cluster, _operator(cluster) as operator:
        await asyncio.sleep(4)
        before, idle = _writes(cluster), operator.cpu_seconds
        began = time.monotonic()
        await _create(cluster.url)
        while (counts := cluster.ask("counts"))["pods"] < JOBS * PODS_OF_EACH:  # noqa: ASYNC110
            await asyncio.sleep(0.5)  # an answer costs the server time, too
        seconds = counts["last_pod"] - began
        await _all(cluster, "Running")
        cluster.ask("succeed")
        await _all(cluster, "Succeeded")
        writes = await _all_writes(cluster) - before - JOBS
        return [
            Figure("jobs of 4 pods a second, from the first create to all pods", JOBS / seconds, None, "/s", True),
            Figure("operator's processor time of a job's life", (operator.cpu_seconds - idle) / JOBS * 1e3, 15, "ms"),
            Figure("operator's peak memory over 200 jobs", operator.peak_megabytes, 80, "MB"),
            Figure("requests of a job's life", writes / JOBS, 12, "requests"),
        ]


async def _create(url: str) -> None:
    jobs = f"{url}/apis/kubeflow.org/v1/namespaces/default/pytorchjobs"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    names = iter(f"job-{number}" for number in range(JOBS))

    async def some(session: aiohttp.ClientSession) -> None:
        for name in names:
            async with session.post(jobs, json=job(name, PODS_OF_EACH)) as answer:
                assert answer.status == 201, await answer.text()

    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(*(some(session) for _ in range(CONNECTIONS)))


async def _all(cluster: Cluster, condition: str) -> None:
    async with asyncio.timeout(120):
        while cluster.ask("counts")["jobs"].get(condition, 0) < JOBS:  # noqa: ASYNC110
            await asyncio.sleep(0.5)


def _writes(cluster: Cluster) -> int:
    requests = cluster.ask("counts")["requests"]
    return sum(requests.get(verb, 0) for verb in ("POST", "PATCH", "PUT", "DELETE"))


async def _all_writes(cluster: Cluster) -> int:
    """Also the last events, which an operator writes when it has time."""
    writes = -1
    while writes != (writes := _writes(cluster)):  # noqa: ASYNC110
        await asyncio.sleep(2)
    return writes


def _idle() -> Figure:
    with _cluster(FINISHED, "Succeeded") as cluster, _operator(cluster) as operator:
        while not operator.settled(FINISHED):
            time.sleep(0.5)
        time.sleep(2)
        before = operator.cpu_seconds
        time.sleep(IDLE_SECONDS)
        share = (operator.cpu_seconds - before) / IDLE_SECONDS * 100
        return Figure("operator at rest over 1,000 finished jobs", share, 0.5, "% of a processor")


def _restart() -> list[Figure]:
    with _cluster(RESTARTED_OVER, "Running") as cluster:
        before = _writes(cluster)
        began = time.perf_counter()
        with _operator(cluster) as operator:
            while not operator.settled(RESTARTED_OVER):
                time.sleep(0.2)
            seconds = time.perf_counter() - began
            writes = _writes(cluster) - before
            return [
                Figure("operator's restart over 5,000 jobs and 20,000 pods", seconds, 15, "s"),
                Figure("its writes meanwhile", writes, 0, "requests"),
                Figure("its peak memory", operator.peak_megabytes, None, "MB"),
            ]
