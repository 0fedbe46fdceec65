"""What users of PyTorchJobs saw, and what they see here. The numbers are those of docs/compatibility.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from training import Training

from kfcore.api.meta import Manifest, untyped
from kfcore.client.errors import Invalid
from kfcore.jobs.options import OperatorOptions
from kfcore_pytorch import PyTorchJob, PyTorchJobController

REPOSITORY = Path(__file__).parents[2]


def a_pytorch_job(*, annotations: dict[str, str] | None = None, spec: Manifest | None = None, **types: Any) -> Manifest:
    """Types are given by their number of replicas; None leaves the number out."""
    template = {"spec": {"containers": [{"name": "pytorch", "image": "busybox"}]}}
    specs = {
        name: {"template": template} if count is None else {"replicas": count, "template": template}
        for name, count in types.items()
    }
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "march", "namespace": "default", "annotations": annotations or {}},
        "spec": {"pytorchReplicaSpecs": specs, **(spec or {})},
    }


def training_of(job: Manifest, **options: Any) -> Training:
    return Training(job, controller=PyTorchJobController, options=OperatorOptions(**options))


async def env(training: Training, pod: str) -> dict[str, str]:
    (container,) = (await training.pod_specs())[pod]["containers"]
    return {variable["name"]: variable["value"] for variable in container["env"]}


async def test_an_elastic_job_succeeds_with_its_first_worker_though_others_never_ran() -> None:  # B20
    spec = {"elasticPolicy": {"minReplicas": 1, "maxReplicas": 3}, "runPolicy": {"cleanPodPolicy": "Running"}}
    training = training_of(a_pytorch_job(Worker=3, spec=spec))
    await training.reconciled()
    await training.set("march-worker-1", phase="Succeeded", exit_code=0)
    await training.reconciled()
    assert (await training.job()).status.is_true("Succeeded")
    assert await training.pods() == ["march-worker-1"]


async def test_workers_without_a_master_learn_their_ranks_where_the_job_asks_for_it() -> None:  # B22
    training = training_of(a_pytorch_job(Worker=3, annotations={"kfcore/worker-0-is-master": "true"}))
    await training.reconciled()
    variables = await env(training, "march-worker-2")
    assert (variables["RANK"], variables["WORLD_SIZE"]) == ("2", "3")
    assert (variables["MASTER_ADDR"], variables["MASTER_PORT"]) == ("march-worker-0", "23456")


async def test_workers_without_a_master_are_told_of_none_by_default() -> None:  # B22
    training = training_of(a_pytorch_job(Worker=3))
    await training.reconciled()
    assert "RANK" not in await env(training, "march-worker-2")


async def test_a_master_need_not_say_that_there_is_one_of_it() -> None:  # B33
    training = training_of(a_pytorch_job(Master=None, Worker=1))
    await training.reconciled()
    assert await training.pods() == ["march-master-0", "march-worker-0"]


async def test_who_manages_a_job_cannot_be_changed() -> None:  # B33
    ours = {"runPolicy": {"managedBy": "kubeflow.org/training-operator"}}
    training = training_of(a_pytorch_job(Worker=1, spec=ours))
    with pytest.raises(Invalid, match="immutable"):
        await training.patch({"runPolicy": {"managedBy": "kueue.x-k8s.io/multikueue"}})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"Master": {"replicas": 2}}, "only one master"),
        ({"Worker": {"replicas": 0}}, "at least 1"),
        ({"Boss": {"template": {"spec": {"containers": [{"name": "pytorch", "image": "a"}]}}}}, "unknown replica type"),
        ({"Worker": {"template": {"spec": {"containers": [{"name": "main", "image": "a"}]}}}}, "name pytorch"),
        ({"Worker": {"template": {"spec": {"containers": [{"name": "pytorch", "image": None}]}}}}, "image"),
        ({"Worker": {"template": {"spec": {"containers": []}}}}, "containers"),
    ],
)
async def test_a_job_that_cannot_run_is_refused_with_the_reason(change: Manifest, why: str) -> None:  # B32
    training = training_of(a_pytorch_job(Master=1, Worker=1))
    with pytest.raises(Invalid, match=why):
        await training.patch({"pytorchReplicaSpecs": change})


async def test_a_job_that_says_nothing_and_one_of_fewer_than_its_fewest_workers_are_refused() -> None:  # B32
    training = training_of(a_pytorch_job(Worker=1))
    with pytest.raises(Invalid, match=r"spec: Required value"):
        await training.client.create(untyped(PyTorchJob.resource), {"metadata": {"name": "nothing"}}, "default")
    with pytest.raises(Invalid, match=r"minReplicas must be at most maxReplicas"):
        await training.patch({"elasticPolicy": {"minReplicas": 3, "maxReplicas": 2}})


async def test_the_init_container_comes_from_the_operators_file(tmp_path: Path) -> None:  # B25
    template = tmp_path / "init.yaml"
    template.write_text(
        "- name: wait\n  image: {{.InitContainerImage}}\n  command: [wait-for, {{ .MasterAddr }}, '{{.MaxTries}}']\n"
    )
    options = {"init_container_image": "mine:1", "init_container_max_tries": 7}
    training = training_of(a_pytorch_job(Master=1, Worker=1), init_container_template_file=template, **options)
    await training.reconciled()
    (container,) = (await training.pod_specs())["march-worker-0"]["initContainers"]
    assert container == {**container, "name": "wait", "image": "mine:1"}
    assert container["command"] == ["wait-for", "march-master-0", "7"]


@pytest.mark.parametrize(("text", "why"), [("- name: {{.Nobody}}", "Nobody"), ("a: 1", "list"), ("- [", "init.yaml")])
async def test_a_file_that_is_no_template_is_refused_at_the_start(tmp_path: Path, text: str, why: str) -> None:
    template = tmp_path / "init.yaml"
    template.write_text(text)
    with pytest.raises(ValueError, match=why):
        training_of(a_pytorch_job(Master=1, Worker=1), init_container_template_file=template)


async def test_workers_wait_for_nothing_where_the_job_asks_for_that() -> None:  # B25
    job = a_pytorch_job(Master=1, Worker=1, annotations={"kfcore/no-init-container": "true"})
    training = training_of(job)
    await training.reconciled()
    assert "initContainers" not in (await training.pod_specs())["march-worker-0"]


async def test_the_scale_subresource_counts_the_workers() -> None:
    training = training_of(a_pytorch_job(Master=1, Worker=2))
    await training.reconciled()
    await training.set(phase="Running")
    await training.reconciled()
    raw = (await training.client.get(untyped(PyTorchJob.resource), "march", "default")).raw
    worker = raw["status"]["replicaStatuses"]["Worker"]
    assert worker["active"] == 2
    assert "replica-type=worker" in worker["selector"]


def test_the_operators_role_lets_it_elect_a_leader() -> None:  # B35
    documents = list(yaml.safe_load_all((REPOSITORY / "deploy/rbac.yaml").read_text()))
    rules = [rule for document in documents for rule in document.get("rules") or []]
    (leases,) = [rule for rule in rules if "leases" in rule["resources"]]
    assert {"get", "create", "update"} <= {*leases["verbs"], *(["update"] if "patch" in leases["verbs"] else [])}


@pytest.mark.parametrize(
    ("failed", "told"),
    [
        ("march-worker-0", "PyTorchJob march is restarting because 1 Worker replica(s) failed."),
        ("march-master-0", "job march is restarting because Master replica(s) failed."),
    ],
)
async def test_a_restart_is_told_in_the_words_that_users_know(failed: str, told: str) -> None:
    training = training_of(a_pytorch_job(Master=1, Worker=1))
    await training.reconciled()
    await training.set(phase="Running")
    await training.reconciled()
    await training.set(failed, phase="Failed", exit_code=1)
    await training.reconcile()
    assert (await training.job()).status.conditions[-1].message == told
