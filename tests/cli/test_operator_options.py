"""Every option of `kfcore operator` does what it says: one process is started with all of them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from certificates import self_signed
from ports import reserved_port

from kfcore.api.core import Lease, Namespace, Pod, Service
from kfcore.api.crd import crd
from kfcore.api.meta import untyped
from kfcore.apiserver.kubeconfig import write_kubeconfig
from kfcore.client.cluster import ClusterClient
from kfcore.jobs.gang import SchedulerPluginsPodGroup
from kfcore.pytest_plugin import RunningApiServer
from kfcore_local.gang import pod_group_crd
from kfcore_pytorch import PyTorchJob
from kfcore_tf import TFJob

KFCORE = str(Path(sys.executable).with_name("kfcore"))
AnyPod = untyped(Pod.resource)


def a_job(namespace: str) -> dict[str, Any]:
    replicas = {"replicas": 1, "template": {"spec": {"containers": [{"name": "pytorch", "image": "none"}]}}}
    spec = {"pytorchReplicaSpecs": {"Master": replicas, "Worker": replicas}}
    return {"metadata": {"name": "job", "namespace": namespace}, "spec": spec}


def with_another_context(kubeconfig: Path) -> None:
    """Which is the current one, and leads nowhere."""
    config = json.loads(kubeconfig.read_text())
    config["clusters"].append({"name": "nowhere", "cluster": {"server": "http://127.0.0.1:1"}})
    config["contexts"].append({"name": "nowhere", "context": {"cluster": "nowhere"}})
    kubeconfig.write_text(json.dumps({**config, "current-context": "nowhere"}))


@asynccontextmanager
async def an_operator(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(KFCORE, "operator", *arguments, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(240):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        _, said = await process.communicate()
        print(said.decode())  # for a test that fails


async def get(url: str) -> tuple[int, str]:
    """Status and text, as soon as somebody listens."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http:
        while True:
            try:
                async with http.get(url) as answer:
                    return answer.status, await answer.text()
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


async def pods(client: ClusterClient, count: int) -> list[Any]:
    while len(found := await client.list(AnyPod)) < count:  # noqa: ASYNC110 — another process makes them
        await asyncio.sleep(0.02)
    return found


@pytest.fixture
def kubeconfig(api_server: RunningApiServer, tmp_path: Path) -> str:
    for kind in (PyTorchJob, TFJob):
        api_server.api.install_crd(crd(kind))
    api_server.api.install_crd(pod_group_crd(SchedulerPluginsPodGroup.resource))
    return str(write_kubeconfig(tmp_path / "config", api_server.url, api_server.token))


@pytest.fixture
def health() -> Iterator[int]:
    with reserved_port() as port:
        yield port


@pytest.fixture
def metrics() -> Iterator[int]:
    with reserved_port() as port:
        yield port


async def test_every_option_has_its_effect(
    api_server: RunningApiServer, kubeconfig: str, health: int, metrics: int
) -> None:
    with_another_context(Path(kubeconfig))
    arguments = {
        "kubeconfig": kubeconfig,
        "context": "kfcore",
        "namespace": "served,empty",
        "kind": "PyTorchJob,tfjob",
        "workers": "3,TFJob=5",
        "ttl-seconds": "0",
        "gang-scheduler-name": "together",
        "init-container-image": "busybox:mine",
        "init-container-max-tries": "7",
        "leader-election-namespace": "empty",
        "leader-election-id": "mine",
        "health-address": f"127.0.0.1:{health}",
        "metrics-address": f"127.0.0.1:{metrics}",
        "log-format": "console",
        "log-level": "warning",
    }
    flags = [word for name, value in arguments.items() for word in (f"--{name}", value)]
    async with await api_server.connect() as user, an_operator(*flags) as process:
        for namespace in ("served", "empty", "other"):
            await user.create(Namespace, {"metadata": {"name": namespace}})
        for namespace in ("other", "served"):
            await user.create(PyTorchJob, a_job(namespace))
        master, worker = await pods(user, 2)
        assert {pod.namespace for pod in (master, worker)} == {"served"}
        assert master.raw["spec"]["schedulerName"] == "together"
        init = worker.raw["spec"]["initContainers"][0]
        assert init["image"] == "busybox:mine"
        assert "7" in json.dumps(init["command"])

        assert (await get(f"http://127.0.0.1:{health}/readyz"))[0] == 200
        text = (await get(f"http://127.0.0.1:{metrics}/metrics"))[1]
        workers = [
            line for line in text.splitlines() if line.startswith("controller_runtime_max_concurrent_reconciles{")
        ]
        assert sorted(line.rpartition("{")[2] for line in workers) == [
            'controller="pytorchjob-controller"} 3.0',
            'controller="tfjob-controller"} 5.0',
        ]
        assert [lease.name for lease in await user.list(Lease, "empty")] == ["mine"]

        for pod in (master, worker):
            status = {"status": {"phase": "Succeeded"}}
            await user.patch(Pod, pod.name, "served", status, subresource="status")
        while await user.list(PyTorchJob, "served"):  # noqa: ASYNC110 — finished jobs are deleted at once
            await asyncio.sleep(0.02)
        assert (await user.get(PyTorchJob, "job", "other")).status.conditions == []
        process.terminate()
        assert process.stderr
        assert b"manager.started" not in await process.stderr.read()


async def test_a_limit_of_requests_is_kept(api_server: RunningApiServer, kubeconfig: str) -> None:
    """Two pods and two services, one at a time and two a second: that cannot take less than a second and a half."""
    flags = ["--kubeconfig", kubeconfig, "--kind", "PyTorchJob", "--kube-api-qps", "2", "--kube-api-burst", "1"]
    flags += ["--metrics-bind-address", "0", "--health-probe-bind-address", "0"]
    async with await api_server.connect() as user, an_operator(*flags):
        began = time.monotonic()
        await user.create(PyTorchJob, a_job("default"))

        async def made() -> int:
            return sum([len(await user.list(kind)) for kind in (Pod, Service)])

        while await made() < 4:  # noqa: ASYNC110 — another process makes them
            await asyncio.sleep(0.02)
        assert time.monotonic() - began >= 1.5


async def test_metrics_are_for_those_only_whom_the_api_server_lets(
    api_server: RunningApiServer, kubeconfig: str, metrics: int, tmp_path: Path
) -> None:
    certificate = self_signed(tmp_path)
    flags = ["--kubeconfig", kubeconfig, "--kind", "PyTorchJob", "--metrics-cert-path", str(certificate.parent)]
    flags += ["--metrics-bind-address", f"127.0.0.1:{metrics}", "--health-probe-bind-address", "0"]
    async with an_operator(*flags):
        assert (await get(f"https://127.0.0.1:{metrics}/metrics"))[0] == 401


async def test_an_election_that_is_turned_off_takes_no_lease(api_server: RunningApiServer, kubeconfig: str) -> None:
    flags = ["--kubeconfig", kubeconfig, "--kind", "PyTorchJob", "--leader-election-namespace", "default"]
    flags += ["--no-leader-elect", "--metrics-bind-address", "0", "--health-probe-bind-address", "0"]
    async with await api_server.connect() as user, an_operator(*flags):
        await user.create(PyTorchJob, a_job("default"))
        await pods(user, 2)
        assert await user.list(Lease) == []
