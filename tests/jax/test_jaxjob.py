"""A JAXJob as its user sees it."""

from __future__ import annotations

from typing import Any

from training import Training

from kfcore.api.core import Pod
from kfcore.api.crd import crd
from kfcore.api.meta import Manifest
from kfcore.api.validation import validate
from kfcore_jax import JAXJob, JAXJobController


def a_jax_job(workers: int = 2, *, restart_policy: str | None = None, port: int | None = None, **spec: Any) -> Manifest:
    container: Manifest = {"name": "jax", "image": "i"}
    if port is not None:
        container["ports"] = [{"name": "jaxjob-port", "containerPort": port}]
    worker: Manifest = {"replicas": workers, "template": {"spec": {"containers": [container]}}}
    if restart_policy is not None:
        worker["restartPolicy"] = restart_policy
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "JAXJob",
        "metadata": {"name": "jx", "namespace": "default"},
        "spec": {"jaxReplicaSpecs": {"Worker": worker}, **spec},
    }


async def started(job: Manifest) -> Training:
    training = Training(job, controller=JAXJobController)
    await training.reconcile()
    return training


async def environment(job: Manifest, pod: str) -> dict[str, str]:
    spec = (await (await started(job)).pod_specs())[pod]
    return {variable["name"]: variable["value"] for variable in spec["containers"][0]["env"]}


async def test_every_process_is_told_where_the_coordinator_is_and_which_it_is_itself() -> None:
    assert await environment(a_jax_job(workers=3), "jx-worker-2") == {
        "PYTHONUNBUFFERED": "1",
        "COORDINATOR_PORT": "6666",
        "COORDINATOR_ADDRESS": "jx-worker-0",
        "NUM_PROCESSES": "3",
        "PROCESS_ID": "2",
    }


async def test_the_coordinator_listens_on_the_port_that_the_container_opens() -> None:
    assert (await environment(a_jax_job(port=7777), "jx-worker-0"))["COORDINATOR_PORT"] == "7777"


async def test_worker_0_carries_the_role_of_the_master() -> None:
    training = await started(a_jax_job(workers=2))
    pods = await training.client.list(Pod, "default", label_selector="training.kubeflow.org/job-role=master")
    assert [pod.name for pod in pods] == ["jx-worker-0"]


async def test_the_job_succeeds_when_all_its_workers_did() -> None:
    training = await started(a_jax_job())
    await training.set(phase="Running")
    await training.reconcile()
    assert (await training.job()).status.conditions[-1].message == "JAXJob default/jx is running."
    await training.set("jx-worker-0", phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert await training.conditions() == ["Created", "Running"]
    await training.set("jx-worker-1", phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert await training.conditions() == ["Created", "Running=False", "Succeeded"]
    assert (await training.job()).status.conditions[-1].message == "JAXJob default/jx successfully completed."


async def test_a_worker_that_failed_fails_the_job_by_default() -> None:
    training = await started(a_jax_job())
    await training.set("jx-worker-1", phase="Failed", exit_code=2)
    await training.reconcile()
    assert (await training.conditions())[-1] == "Failed"
    assert (await training.job()).status.conditions[-1].message == (
        "JAXJob jx is failed because 1 Worker replica(s) failed."
    )


async def test_the_workers_can_be_scaled_by_the_scale_subresource() -> None:
    training = await started(a_jax_job(workers=2))
    worker = (await training.job()).status.replica_statuses["Worker"]
    assert worker.selector == (
        "training.kubeflow.org/job-name=jx,training.kubeflow.org/operator-name=jaxjob-controller,"
        "training.kubeflow.org/replica-type=worker"
    )
    (version,) = crd(JAXJob)["spec"]["versions"]
    assert version["subresources"]["scale"] == {
        "specReplicasPath": ".spec.jaxReplicaSpecs.Worker.replicas",
        "statusReplicasPath": ".status.replicaStatuses.Worker.active",
        "labelSelectorPath": ".status.replicaStatuses.Worker.selector",
    }


def test_what_is_wrong_is_named_with_its_place() -> None:
    job = a_jax_job(runPolicy={"managedBy": "somebody.else/controller"})
    job["spec"]["jaxReplicaSpecs"]["Worker"]["template"]["spec"]["containers"] = [{"name": "main", "image": "i"}]
    paths = sorted(error.path for error in validate(JAXJob, job))
    assert paths == ["spec.jaxReplicaSpecs.Worker.template.spec.containers", "spec.runPolicy.managedBy"]
