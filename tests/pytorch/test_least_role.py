"""The operator under the very role that it ships with: a job to its end, and nothing more allowed than that."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kfcore.api.core import Event, Pod, Service
from kfcore.api.crd import crd
from kfcore.api.meta import untyped
from kfcore.api.resource import Resource
from kfcore.apiserver.authentication import service_account_user
from kfcore.apiserver.rbac import RBAC
from kfcore.apiserver.server import ApiServer
from kfcore.client.errors import Forbidden
from kfcore.client.interface import PatchType
from kfcore.client.rest import RestClient
from kfcore.controller.manager import Manager
from kfcore.deployment import NAME, NAMESPACE, operator_rbac
from kfcore.plugins import OperatorOptions
from kfcore.testing import FakeClock, settle
from kfcore.testing.transport import InProcessTransport
from kfcore_pytorch import PyTorchJob, PyTorchJobController

ROOT = Path(__file__).parents[2]
Secret = untyped(Resource("", "v1", "Secret", "secrets"))


def a_job() -> dict[str, object]:
    template = {"spec": {"containers": [{"name": "pytorch", "image": "python:3.11", "command": ["python", "t.py"]}]}}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "job", "namespace": "default"},
        "spec": {
            "runPolicy": {"ttlSecondsAfterFinished": 60, "cleanPodPolicy": "All"},
            "pytorchReplicaSpecs": {
                "Master": {"replicas": 1, "template": template},
                "Worker": {"replicas": 2, "template": template},
            },
        },
    }


async def test_a_job_runs_to_its_end_under_the_operators_own_role() -> None:
    clock = FakeClock()
    server = ApiServer(clock=clock, authorizer=RBAC)
    server.install_crd(crd(PyTorchJob))
    admin = RestClient(InProcessTransport(server))
    for manifest in operator_rbac([PyTorchJobController]):
        kind = server.kinds.of(manifest["apiVersion"], manifest["kind"])
        assert kind is not None
        await admin.create(untyped(kind.resource), manifest, manifest["metadata"].get("namespace"))
    account = service_account_user(NAMESPACE, NAME)
    client = RestClient(InProcessTransport(server, user=account.name, groups=account.groups))
    manager = Manager(client, clock=clock)
    PyTorchJobController.setup(manager, OperatorOptions())
    running = asyncio.create_task(manager.run())
    try:
        await admin.create(PyTorchJob, a_job(), "default")
        await settle()
        pods = await admin.list(Pod, "default")
        assert [pod.name for pod in pods] == ["job-master-0", "job-worker-0", "job-worker-1"]
        for phase in ("Running", "Succeeded"):
            for pod in pods:
                status = {"status": {"phase": phase}}
                await admin.patch(Pod, pod.name, "default", status, patch_type=PatchType.MERGE, subresource="status")
            await clock.advance(5)
            await settle()
        job = await admin.get(PyTorchJob, "job", "default")
        assert job.status.is_true("Succeeded")
        assert {event.reason for event in await admin.list(Event, "default")} >= {"SuccessfulCreatePod"}
        await clock.advance(61)
        await settle()
        assert await admin.list(PyTorchJob, "default") == []
        assert await admin.list(Service, "default") == []
    finally:
        manager.stop()
        await running
    with pytest.raises(Forbidden):
        await client.list(Secret, "default")
    with pytest.raises(Forbidden):
        await client.create(PyTorchJob, a_job(), "default")


def test_the_role_that_is_kept_is_the_one_that_the_controllers_declare() -> None:
    command = [str(Path(sys.executable).with_name("kfcore")), "rbac"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    printed = ended.stdout
    kept = (ROOT / "deploy" / "rbac.yaml").read_text()
    assert list(yaml.safe_load_all(printed)) == list(yaml.safe_load_all(kept)), "run: kfcore rbac > deploy/rbac.yaml"
