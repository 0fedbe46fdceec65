"""Whatever of a cluster is killed: what was asked for comes about in the end, and nothing is left over.

`KFCORE_CHAOS_SECONDS=120 pytest tests/local/test_chaos.py` does harm for two minutes, to real trainings (`make chaos`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos import POD, Monkey, Site, conditions
from example_jobs import an_example
from patience import PATIENCE, eventually
from ports import reserved_port

from kfcore.api.meta import Manifest, untyped
from kfcore.client.cluster import ClusterClient
from kfcore.client.errors import ApiError, ConnectionFailed
from kfcore_local.workloads.kinds import Deployment, Service, StatefulSet
from kfcore_pytorch import PyTorchJob

JOB, STATEFUL_SET, DEPLOYMENT, SERVICE = (
    untyped(kind.resource) for kind in (PyTorchJob, StatefulSet, Deployment, Service)
)
SECONDS = float(os.environ.get("KFCORE_CHAOS_SECONDS", "10"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc"),
    pytest.mark.timeout(1800 + 4 * SECONDS),
]


def a_container(*command: str, name: str = "main", **fields: Any) -> Manifest:
    return {"name": name, "image": "any", "command": list(command), **fields}


def a_short_job(name: str, folder: Path, **spec: Any) -> Manifest:
    """Every replica counts to its end, and goes on from where it was when it is killed."""
    script = (
        "import os, pathlib, time\n"
        f"path = pathlib.Path({str(folder)!r}, '{name}-' + os.environ.get('HOSTNAME', 'x'))\n"
        "for step in range(int(path.read_text()) if path.exists() and path.read_text() else 0, 10):\n"
        "    time.sleep(0.2); path.write_text(str(step))"
    )
    container = a_container(sys.executable, "-c", script, name="pytorch")
    container["volumeMounts"] = [{"name": "progress", "mountPath": str(folder)}]
    volumes = [{"name": "progress", "hostPath": {"path": str(folder)}}]
    pod = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1}
    replica = {"restartPolicy": "OnFailure", "template": {"spec": pod}}
    return {
        "metadata": {"name": name},
        "spec": {**spec, "pytorchReplicaSpecs": {"Worker": {**replica, "replicas": 2}}},
    }


def the_workloads(folder: Path) -> list[tuple[Any, Manifest]]:
    """A job, an elastic one, a StatefulSet with claims and a Deployment behind a Service."""
    if SECONDS >= 60:
        jobs = [an_example(file, folder) for file in ("digits-ddp.yaml", "elastic.yaml")]
    else:
        elastic = {"elasticPolicy": {"minReplicas": 1, "maxReplicas": 3}}
        progress = folder / "progress"
        progress.mkdir()
        jobs = [a_short_job("digits", progress), a_short_job("elastic", progress, **elastic)]
    labels, web = {"app": "store"}, {"app": "web"}
    server = a_container("sh", "-c", "echo started >> log; exec sleep 3600", workingDir="/data")
    server["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}

    def template(marks: Manifest, container: Manifest) -> Manifest:
        return {"metadata": {"labels": marks}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}

    stateful_set = {
        "serviceName": "store",
        "replicas": 3,
        "selector": {"matchLabels": labels},
        "template": template(labels, server),
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
    }
    deployment = {
        "replicas": 2,
        "selector": {"matchLabels": web},
        "template": template(web, a_container("sleep", "3600")),
    }
    service = {"selector": web, "ports": [{"port": 80}]}
    return [
        *((JOB, job) for job in jobs),
        (STATEFUL_SET, {"metadata": {"name": "store"}, "spec": stateful_set}),
        (DEPLOYMENT, {"metadata": {"name": "web"}, "spec": deployment}),
        (SERVICE, {"metadata": {"name": "web"}, "spec": service}),
    ]


async def is_as_asked(client: ClusterClient) -> bool:
    try:
        for name in ("digits", "elastic"):
            if "Succeeded" not in conditions((await client.get(JOB, name, "default")).raw):
                return False
        stateful_set = (await client.get(STATEFUL_SET, "store", "default")).raw
        deployment = (await client.get(DEPLOYMENT, "web", "default")).raw
        pods = [pod.raw for pod in await client.list(POD, "default")]
    except (ApiError, ConnectionFailed):
        return False
    running = [pod for pod in pods if "Ready" in conditions(pod) and "deletionTimestamp" not in pod["metadata"]]
    servers = [pod for pod in running if pod["metadata"].get("labels", {}).get("app") in ("store", "web")]
    ready = stateful_set["status"].get("readyReplicas"), deployment["status"].get("readyReplicas")
    return ready == (3, 2) and len(servers) == 5


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with reserved_port() as port:
        yield Site(tmp_path, port)


async def test_what_was_asked_for_comes_about_whatever_is_killed(site: Site, tmp_path: Path) -> None:
    seed = int(os.environ.get("KFCORE_CHAOS_SEED", "3"))
    monkey = Monkey(site, seed)
    with site.running():
        await site.answers()
        site.start("operator")
        async with await ClusterClient.connect(site.kubeconfig) as client:
            await eventually(lambda: _create(client, the_workloads(tmp_path)), "the workloads are created")
        await monkey.rage(SECONDS, (0.2, 1.5) if SECONDS < 60 else (0.5, 5))
        print("\n".join(monkey.done))
        async with await ClusterClient.connect(site.kubeconfig) as client:
            seconds = PATIENCE + 2 * SECONDS
            try:
                await eventually(
                    lambda: is_as_asked(client), f"all is as asked for, after {monkey.done}", seconds=seconds
                )
            except AssertionError:
                print(site.log())
                print([(pod.name, pod.raw["status"].get("phase")) for pod in await client.list(POD, "default")])
                raise

    async def nothing_is_left() -> bool:
        return not site.processes() and not site.mounts()

    await eventually(nothing_is_left, f"no process ({site.processes()}) or mount is left")
    assert list((tmp_path / "tmp-cluster").iterdir()) == [], "no temporary file is left"


async def _create(client: ClusterClient, manifests: list[tuple[Any, Manifest]]) -> bool:
    """Once the operator has brought its CRDs, all of it."""
    for kind, manifest in manifests:
        try:
            await client.create(kind, manifest, "default")
        except ApiError as error:
            if error.status.reason == "AlreadyExists":
                continue
            if error.status.reason == "NotFound":
                return False
            raise
    return True
