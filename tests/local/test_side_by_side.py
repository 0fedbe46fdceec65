"""The digits job, an elastic job and a StatefulSet, at once on one machine: real trainings, real files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from example_jobs import an_example
from patience import eventually

from kfcore.api.meta import Manifest, untyped
from kfcore_local.cluster import LocalCluster
from kfcore_local.storage import directory_of
from kfcore_local.workloads.kinds import StatefulSet
from kfcore_pytorch import PyTorchJob

JOB, STATEFUL_SET = untyped(PyTorchJob.resource), untyped(StatefulSet.resource)
WHEN_TOLD = 'until test -e "$0/go"; do sleep 0.1; done; exec "$@"'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        importlib.util.find_spec("torch") is None or importlib.util.find_spec("sklearn") is None,
        reason="trains with torch and scikit-learn",
    ),
]


def a_stateful_set() -> Manifest:
    container: Manifest = {"name": "main", "image": "any", "workingDir": "/data"}
    container["command"] = ["sh", "-c", "echo $HOSTNAME > name; exec sleep 600"]
    container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 1}
    spec = {
        "serviceName": "store",
        "replicas": 2,
        "selector": {"matchLabels": {"app": "store"}},
        "template": {"metadata": {"labels": {"app": "store"}}, "spec": pod},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
    }
    return {"metadata": {"name": "store"}, "spec": spec}


def held(job: Manifest, folder: Path) -> Manifest:
    """The job, none of whose replicas gets to train before `folder` has a file `go`."""
    for replica in job["spec"]["pytorchReplicaSpecs"].values():
        pod = replica["template"]["spec"]
        # The directory is the machine's own also where pods have files of their own.
        pod.setdefault("volumes", []).append({"name": "starter", "hostPath": {"path": str(folder)}})
        for container in pod["containers"]:
            container["command"] = ["sh", "-c", WHEN_TOLD, str(folder), *container["command"]]
            container.setdefault("volumeMounts", []).append({"name": "starter", "mountPath": str(folder)})
    return job


async def test_two_trainings_and_a_stateful_set_run_at_once_and_come_to_their_ends(tmp_path: Path) -> None:
    async with LocalCluster() as cluster:
        client = cluster.client

        async def has(name: str, condition: str) -> bool:
            status: Any = (await client.get(JOB, name, "default")).raw.get("status") or {}
            types = {item["type"]: item for item in status.get("conditions") or []}
            assert types.get("Failed", {}).get("status") != "True", types
            return types.get(condition, {}).get("status") == "True"

        async def all_run() -> bool:
            status = (await client.get(STATEFUL_SET, "store", "default")).raw["status"]
            return (
                status.get("readyReplicas") == 2 and await has("digits", "Running") and await has("elastic", "Running")
            )

        async def both_succeeded() -> bool:
            return await has("digits", "Succeeded") and await has("elastic", "Succeeded")

        starter = tmp_path / "starter"
        starter.mkdir()
        for file in ("digits-ddp.yaml", "elastic.yaml"):
            await client.create(JOB, held(an_example(file, tmp_path), starter), "default")
        await client.create(STATEFUL_SET, a_stateful_set(), "default")
        await eventually(all_run, "all of them run")
        (starter / "go").touch()
        await eventually(both_succeeded, "both trainings have succeeded", seconds=1200)
        for ordinal in range(2):
            directory = await directory_of(client, "default", f"data-store-{ordinal}")
            assert directory is not None
            assert (directory / "name").read_text() == f"store-{ordinal}\n"
