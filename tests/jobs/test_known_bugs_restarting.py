"""What users of the training operator saw when pods were lost or restarted, and what they see here. The numbers are
those of docs/compatibility.md.
"""

from __future__ import annotations

import pytest
from training import MarchJob, Training, a_march_job

from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, controller_of
from kfcore.client.errors import ApiError
from kfcore.jobs.annotations import IGNORE_DISRUPTIONS, RESTART_SCOPE
from kfcore.jobs.options import OperatorOptions
from kfcore.testing import schemaless_crd


def with_annotation(job: Manifest, name: str, value: str) -> Manifest:
    job["metadata"]["annotations"] = {name: value}
    return job


async def test_an_evicted_pod_counts_as_a_restart_also_after_it_is_gone() -> None:  # B2
    training = Training(a_march_job(backoffLimit=2))
    await training.reconciled()
    for _ in range(2):
        await training.evict("march-walker-0")
        await training.reconciled()
        await training.after(30)
    assert (await training.job()).status.is_true("Failed")


async def test_a_pod_on_a_dead_node_is_replaced_where_the_operator_is_told_to() -> None:  # B8
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gone"}}
    training = Training(a_march_job(), node, options=OperatorOptions(force_delete_seconds=60))
    await training.reconciled()
    await training.bind("march-walker-0", "gone")
    await training.set(phase="Running")
    uid = await training.uid("march-walker-0")
    await training.delete("march-walker-0", grace=30)
    result = await training.reconcile()
    assert result.requeue_after == pytest.approx(90, abs=2)
    await training.after(91)
    await training.reconciled()
    assert await training.uid("march-walker-0") != uid


async def test_a_pod_on_a_dead_node_is_left_to_whoever_runs_the_cluster_by_default() -> None:  # B8
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gone"}}
    training = Training(a_march_job(), node)
    await training.reconciled()
    await training.bind("march-walker-0", "gone")
    uid = await training.uid("march-walker-0")
    await training.delete("march-walker-0", grace=30)
    await training.after(10_000)
    await training.reconciled()
    assert await training.uid("march-walker-0") == uid


async def test_pods_of_a_long_name_are_refused_with_the_job_and_not_one_by_one_for_ever() -> None:  # B15
    job = a_march_job(walkers=11, name="m" * 54)
    training = Training(job, schemaless_crd(MarchJob.resource))  # as an older CRD lets it in
    await training.reconciled()
    status = (await training.job()).status
    failed = status.condition("Failed")
    assert failed is not None
    assert "too long by 1" in failed.message
    assert await training.pods() == []


async def test_pods_with_gaps_above_the_wanted_number_are_not_created_to_be_deleted() -> None:  # B6
    training = Training(a_march_job(walkers=4))
    await training.reconciled()
    await training.delete("march-walker-1")
    await training.delete("march-walker-2")
    training.client.requests.clear()
    await training.scale(1)
    await training.reconciled()
    assert await training.pods() == ["march-walker-0"]
    assert [path for method, path in training.writes if method == "POST" and path.endswith("/pods")] == []


async def test_scaling_down_does_not_fail_or_restart_the_job_while_its_pods_end() -> None:  # B21
    training = Training(a_march_job(walkers=3))
    await training.reconciled()
    await training.set(phase="Running")
    await training.scale(1)
    await training.reconcile()
    await training.reconciled()
    assert await training.conditions() == ["Created", "Running"]


async def test_many_pods_are_created_at_once_in_growing_batches() -> None:  # B34
    training = Training(a_march_job(walkers=40))
    most = await training.most_creates_at_once()
    assert len(await training.pods()) == 40
    assert most >= 16


async def test_an_orphan_with_all_labels_of_the_job_is_adopted() -> None:
    training = Training(a_march_job(walkers=1))
    await training.reconciled()
    uid = await training.uid("march-walker-0")
    body = {"metadata": {"ownerReferences": None}}
    await training.client.patch(Pod, "march-walker-0", "default", body)
    await training.reconciled()
    pod = await training.client.get(Pod, "march-walker-0", "default")
    owner = controller_of(pod)
    assert owner is not None
    assert (owner.uid, pod.metadata.uid) == ((await training.job()).metadata.uid, uid)


async def test_an_orphan_that_only_has_the_name_is_not_adopted() -> None:
    stranger = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "march-walker-0", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]},
    }
    training = Training(a_march_job(walkers=1), stranger)
    await training.reconciled()
    assert controller_of(await training.client.get(Pod, "march-walker-0", "default")) is None
    assert len(await training.events("FailedCreatePod")) == 1


async def test_all_replicas_restart_together_and_count_once_where_the_job_asks_for_it() -> None:
    job = with_annotation(a_march_job(walkers=3, backoffLimit=2), RESTART_SCOPE, "Job")
    training = Training(job)
    await training.reconciled()
    assert {spec["restartPolicy"] for spec in (await training.pod_specs()).values()} == {"Never"}
    before = {await training.uid(pod) for pod in await training.pods()}
    await training.set("march-walker-0", phase="Succeeded", exit_code=0)
    await training.set("march-walker-1", phase="Running")
    await training.reconciled()
    await training.set("march-walker-2", phase="Failed", exit_code=1)
    await training.reconciled()
    after = {await training.uid(pod) for pod in await training.pods()}
    status = (await training.job()).status
    assert len(after) == 3
    assert not before & after
    assert status.restarts["Walker"].count == 1
    assert status.completed_indexes == {}
    await training.set(phase="Succeeded", exit_code=0)
    await training.reconciled()
    assert (await training.job()).status.is_true("Succeeded")


async def test_two_replicas_that_fail_at_once_are_one_restart_of_the_whole_job() -> None:
    training = Training(with_annotation(a_march_job(walkers=3, backoffLimit=2), RESTART_SCOPE, "Job"))
    await training.reconciled()
    await training.set("march-walker-1", "march-walker-2", phase="Failed", exit_code=1)
    await training.reconciled()
    status = (await training.job()).status
    assert not status.finished
    assert status.restarts["Walker"].count == 1


@pytest.mark.parametrize("policy", ["Never", "OnFailure", "ExitCode"])
async def test_a_disruption_does_not_count_as_a_restart_where_the_job_asks_for_it(policy: str) -> None:
    job = with_annotation(a_march_job(restart_policy=policy, backoffLimit=1), IGNORE_DISRUPTIONS, "true")
    training = Training(job)
    await training.reconciled()
    await training.set(phase="Running")
    uid = await training.uid("march-walker-0")
    await training.evict("march-walker-0")
    await training.reconciled()
    status = (await training.job()).status
    assert not status.finished
    assert status.restarts == {}
    assert await training.uid("march-walker-0") != uid
    await training.set("march-walker-0", phase="Failed", exit_code=1 if policy == "Never" else 137)
    await training.reconciled()
    assert (await training.job()).status.is_true("Failed")


async def test_a_disruption_counts_by_default() -> None:
    training = Training(a_march_job(restart_policy="Never"))
    await training.reconciled()
    await training.evict("march-walker-0")
    await training.reconciled()
    assert (await training.job()).status.is_true("Failed")


async def test_a_template_that_changes_is_for_pods_created_later() -> None:  # B37
    training = Training(a_march_job())
    await training.reconciled()
    await training.set_image("busybox:2")
    await training.reconciled()
    assert {spec["containers"][0]["image"] for spec in (await training.pod_specs()).values()} == {"busybox"}
    await training.delete("march-walker-0")
    await training.reconciled()
    images = {name: spec["containers"][0]["image"] for name, spec in (await training.pod_specs()).items()}
    assert images == {"march-walker-0": "busybox:2", "march-walker-1": "busybox"}


async def test_a_template_that_changes_while_the_job_is_suspended_is_for_all_pods() -> None:  # B37
    training = Training(a_march_job(suspend=True))
    await training.reconciled()
    await training.set_image("busybox:2")
    await training.patch({"runPolicy": {"suspend": False}})
    await training.reconciled()
    assert {spec["containers"][0]["image"] for spec in (await training.pod_specs()).values()} == {"busybox:2"}


async def test_the_services_name_pods_that_are_not_ready_yet() -> None:  # B26
    training = Training(a_march_job(walkers=1))
    await training.reconciled()
    service = await training.raw_service("march-walker-0")
    assert service["spec"]["publishNotReadyAddresses"] is True


async def test_a_server_that_fails_is_told_once_and_tried_again() -> None:
    training = Training(a_march_job(walkers=1))
    with training.refusing("POST", "/pods"), pytest.raises(ApiError):
        await training.reconcile()
    await training.reconciled()
    assert len(await training.events("FailedCreatePod")) == 1
    assert await training.pods() == ["march-walker-0"]


async def test_a_pod_that_no_node_takes_is_told_once_on_the_job() -> None:
    training = Training(a_march_job(walkers=1))
    await training.reconciled()
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node fits"}
    body = {"status": {"conditions": [unschedulable]}}
    await training.client.patch(Pod, "march-walker-0", "default", body, subresource="status")
    await training.reconciled()
    assert await training.events("Unschedulable") == ["Error pod march-walker-0 condition message: no node fits"]


async def test_what_is_true_of_a_pod_is_no_trouble() -> None:
    training = Training(a_march_job(walkers=1))
    await training.reconciled()
    disrupted = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": "preempted",
    }
    body = {"status": {"conditions": [disrupted]}}
    await training.client.patch(Pod, "march-walker-0", "default", body, subresource="status")
    await training.reconciled()
    assert await training.events("PreemptionByScheduler") == []
