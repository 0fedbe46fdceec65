"""What becomes of a job of a framework that says no more than it must."""

from __future__ import annotations

import pytest
from training import MarchJob, MarchJobController, Training, a_march_job

from kfcore.api.core import Pod, Service
from kfcore.api.meta import Manifest, controller_of, untyped
from kfcore.testing import schemaless_crd


def port(number: int, **fields: str) -> Manifest:
    return {"containerPort": number, **fields}


async def test_a_new_job_gets_a_pod_and_a_service_for_each_replica() -> None:
    training = Training(a_march_job(walkers=3))
    await training.reconcile()
    names = ["march-walker-0", "march-walker-1", "march-walker-2"]
    assert await training.pods() == names
    assert await training.services() == names
    assert await training.conditions() == ["Created"]


async def test_pods_and_services_carry_labels_owner_and_the_default_port() -> None:
    training = Training(a_march_job(walkers=1))
    await training.reconcile()
    pod = await training.client.get(untyped(Pod.resource), "march-walker-0", "default")
    service = await training.client.get(Service, "march-walker-0", "default")
    labels = {
        "training.kubeflow.org/job-name": "march",
        "training.kubeflow.org/operator-name": "marchjob-controller",
        "training.kubeflow.org/replica-type": "walker",
        "training.kubeflow.org/replica-index": "0",
    }
    assert pod.metadata.labels == {**labels, "training.kubeflow.org/job-role": "master"}
    assert service.spec.selector == labels
    assert pod.raw["spec"]["containers"][0]["ports"][0]["name"] == "marchjob-port"
    assert [(port.name, port.port) for port in service.spec.ports] == [("marchjob-port", 7000)]
    owner = controller_of(pod)
    assert owner is not None
    assert owner.uid == (await training.job()).metadata.uid


async def test_a_job_costs_what_must_exist_two_status_writes_and_two_events_until_it_runs() -> None:
    training = Training(a_march_job(walkers=4))
    await training.reconcile()
    await training.set(phase="Running")
    written = [path.rsplit("/", 1)[1] for method, path in training.writes if method == "POST"]
    assert sorted(written) == ["events"] * 2 + ["pods"] * 4 + ["services"] * 4
    training.client.requests.clear()
    await training.reconcile()
    assert [path.rsplit("/", 1)[1] for _, path in training.writes] == ["status"]
    assert await training.conditions() == ["Created", "Running"]


async def test_a_reconcile_that_changes_nothing_writes_nothing() -> None:
    training = Training(a_march_job())
    await training.reconcile()
    await training.set(phase="Running")
    await training.reconcile()
    training.client.requests.clear()
    await training.reconcile()
    assert training.writes == []


async def test_the_job_succeeds_when_all_replicas_did() -> None:
    training = Training(a_march_job())
    await training.reconcile()
    await training.set(phase="Running")
    await training.reconcile()
    await training.set(phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert await training.conditions() == ["Created", "Running=False", "Succeeded"]
    status = (await training.job()).status
    assert status.completion_time == training.clock.now()
    assert status.replica_statuses["Walker"].succeeded == 2


async def test_scaling_down_deletes_the_surplus_and_scaling_up_creates_what_is_missing() -> None:
    training = Training(a_march_job(walkers=3))
    await training.reconcile()
    await training.patch({"marchReplicaSpecs": {"Walker": {"replicas": 1}}})
    await training.reconciled()
    assert await training.pods() == await training.services() == ["march-walker-0"]
    await training.patch({"marchReplicaSpecs": {"Walker": {"replicas": 2}}})
    await training.reconciled()
    assert await training.pods() == await training.services() == ["march-walker-0", "march-walker-1"]


async def test_a_type_of_no_replicas_gets_no_pod() -> None:  # B6
    training = Training(a_march_job(walkers=0))
    await training.reconciled()
    assert await training.pods() == []
    assert await training.conditions() == ["Created"]


async def test_a_succeeded_replica_whose_pod_was_collected_is_not_run_again() -> None:  # B12
    training = Training(a_march_job(walkers=2))
    await training.reconcile()
    await training.set("march-walker-0", phase="Succeeded", exit_code=0)
    await training.set("march-walker-1", phase="Running")
    await training.reconcile()
    await training.client.delete(Pod, "march-walker-0", "default", grace_period_seconds=0)
    training.restart_operator()
    await training.reconciled()
    assert await training.pods() == ["march-walker-1"]
    await training.set("march-walker-1", phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert "Succeeded" in await training.conditions()


async def test_a_deleted_running_pod_is_created_again_and_does_not_fail_the_job() -> None:  # B7
    training = Training(a_march_job(restart_policy="Never"))
    await training.reconcile()
    await training.set(phase="Running")
    await training.reconcile()
    await training.client.delete(Pod, "march-walker-1", "default", grace_period_seconds=0)
    await training.reconciled()
    assert await training.pods() == ["march-walker-0", "march-walker-1"]
    assert await training.conditions() == ["Created", "Running"]


async def test_a_pod_of_somebody_else_in_the_way_is_told_and_left_alone() -> None:  # B9
    stranger = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "march-walker-0", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    training = Training(a_march_job(), stranger)
    result = await training.reconcile()
    assert await training.events("FailedCreatePod") == [
        'Error creating: pods "march-walker-0" already exists and is not owned by this job'
    ]
    assert result.requeue_after == 10
    assert await training.pods() == ["march-walker-0", "march-walker-1"]


async def test_a_service_of_somebody_else_in_the_way_is_told_and_left_alone() -> None:  # B9
    stranger = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "march-walker-0", "namespace": "default"},
        "spec": {"ports": [{"port": 80}]},
    }
    training = Training(a_march_job(), stranger)
    result = await training.reconcile()
    assert await training.events("FailedCreateService") == [
        'Error creating: services "march-walker-0" already exists and is not owned by this job'
    ]
    assert result.requeue_after == 10
    assert (await training.raw_service("march-walker-0"))["spec"]["ports"][0]["port"] == 80
    assert await training.pods() == ["march-walker-0", "march-walker-1"]


async def test_a_pod_that_somebody_took_the_labels_of_is_told_and_left_alone_until_it_is_gone() -> None:
    training = Training(a_march_job())
    await training.reconciled()
    uid = await training.uid("march-walker-0")
    labels = {"metadata": {"labels": {"training.kubeflow.org/job-name": None}}}
    await training.client.patch(Pod, "march-walker-0", "default", labels)
    result = await training.reconcile()
    assert await training.events("FailedCreatePod") == [
        'Error creating: pods "march-walker-0" already exists and lacks labels of this replica'
    ]
    assert result.requeue_after == 10
    assert await training.uid("march-walker-0") == uid
    await training.delete("march-walker-0")
    await training.reconcile()
    assert await training.uid("march-walker-0") != uid


async def test_a_job_managed_elsewhere_is_left_alone() -> None:
    training = Training(a_march_job(managedBy="kueue.x-k8s.io/multikueue"))
    await training.reconcile()
    assert training.writes == []


async def test_a_job_without_the_frameworks_container_fails_once_with_a_reason() -> None:  # B32
    manifest = a_march_job()
    manifest["spec"]["marchReplicaSpecs"]["Walker"]["template"]["spec"]["containers"][0]["name"] = "wrong"
    training = Training(manifest)
    await training.reconciled()
    failed = (await training.job()).status.condition("Failed")
    assert failed is not None
    assert failed.reason == "MarchJobFailedValidation"
    assert "expected a container named march" in failed.message
    assert await training.events("MarchJobFailedValidation") == [failed.message]
    assert await training.pods() == []


async def test_a_job_that_cannot_be_read_fails_once_with_the_field_at_fault() -> None:  # B32
    manifest = a_march_job()
    manifest["spec"]["marchReplicaSpecs"]["Wanderer"] = manifest["spec"]["marchReplicaSpecs"].pop("Walker")
    training = Training(manifest, schemaless_crd(MarchJob.resource))  # as an older CRD lets it in
    await training.reconciled()
    raw = (await training.client.get(untyped(MarchJob.resource), "march", "default")).raw
    assert [(c["type"], c["reason"]) for c in raw["status"]["conditions"]] == [("Failed", "MarchJobFailedValidation")]
    assert (
        'unknown replica type "Wanderer": expected one of Leader, Walker' in raw["status"]["conditions"][0]["message"]
    )
    assert len(await training.events("MarchJobFailedValidation")) == 1


def test_a_controller_takes_its_names_from_its_kind() -> None:
    assert MarchJobController.kind is MarchJob
    assert MarchJobController.port_name == "marchjob-port"
    assert MarchJobController.operator_name == "marchjob-controller"


async def test_a_container_that_cannot_start_is_told_once_on_the_job() -> None:
    training = Training(a_march_job(walkers=1))
    await training.reconcile()
    waiting = {"reason": "ErrImagePull", "message": "no such image"}
    container = {"name": "march", "image": "", "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": "Pending", "containerStatuses": [{**container, "state": {"waiting": waiting}}]}
    await training.client.patch(Pod, "march-walker-0", "default", {"status": status}, subresource="status")
    await training.reconciled()
    told = "Error pod march-walker-0 container march waiting message: no such image"
    assert await training.events("ErrImagePull") == [told]


@pytest.mark.parametrize(
    ("ports", "served"),
    [
        ([port(7000)], {"marchjob-port": 7000}),
        ([port(7000, name="drum")], {"drum": 7000}),
        ([port(9000), port(9001)], {"port-9000": 9000, "port-9001": 9001, "marchjob-port": 7000}),
        ([port(9000, name="marchjob-port"), port(7000)], {"marchjob-port": 9000, "port-7000": 7000}),
        ([port(53, protocol="UDP"), port(53, name="tcp")], {"port-53": 53, "tcp": 53, "marchjob-port": 7000}),
    ],
)
async def test_a_service_takes_the_ports_of_its_container_whether_they_have_names_or_not(
    ports: list[Manifest], served: dict[str, int]
) -> None:
    job = a_march_job(walkers=1)
    job["spec"]["marchReplicaSpecs"]["Walker"]["template"]["spec"]["containers"][0]["ports"] = ports
    training = Training(job)
    await training.reconciled()
    found = (await training.raw_service("march-walker-0"))["spec"]["ports"]
    assert {port["name"]: port["port"] for port in found} == served
    assert await training.pods() == ["march-walker-0"]


async def test_a_replica_that_succeeded_and_was_scaled_away_runs_again_when_it_is_wanted_again() -> None:
    training = Training(a_march_job(walkers=3))
    await training.reconciled()
    await training.set("march-walker-2", phase="Succeeded", exit_code=0)
    await training.reconciled()
    await training.scale(2)
    await training.reconciled()
    await training.scale(3)
    await training.reconciled()
    assert await training.pods() == ["march-walker-0", "march-walker-1", "march-walker-2"]
    assert (await training.job()).status.replica_statuses["Walker"].succeeded == 0


async def test_in_the_hosts_network_the_default_port_is_not_opened_a_second_time() -> None:
    job = a_march_job(walkers=1)
    pod = job["spec"]["marchReplicaSpecs"]["Walker"]["template"]["spec"]
    pod |= {"hostNetwork": True, "containers": [{**pod["containers"][0], "ports": [port(7000)]}]}
    training = Training(job)
    await training.reconciled()
    [container] = (await training.pod_specs())["march-walker-0"]["containers"]
    assert [opened["containerPort"] for opened in container["ports"]] == [7000]


async def test_replicas_that_are_scaled_away_do_not_run_on_when_that_ends_the_job() -> None:
    training = Training(a_march_job(walkers=3))
    await training.reconciled()
    await training.set("march-walker-0", phase="Succeeded", exit_code=0)
    await training.set("march-walker-2", phase="Running")
    await training.reconciled()
    await training.scale(1)
    await training.reconciled()
    assert await training.conditions() == ["Created", "Running=False", "Succeeded"]
    assert await training.pods() == ["march-walker-0"]
