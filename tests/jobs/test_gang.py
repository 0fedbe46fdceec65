"""Gang scheduling as users of Volcano and of scheduler-plugins see it. B18 and B19 of docs/compatibility.md."""

from __future__ import annotations

from typing import Any

import pytest
from training import Training, a_march_job

from kfcore.api.meta import Manifest, untyped
from kfcore.api.resource import Resource
from kfcore.client.errors import NotFound
from kfcore.jobs.gang import SchedulerPluginsPodGroup, VolcanoPodGroup, gang_scheduler
from kfcore.jobs.options import OperatorOptions
from kfcore_local.gang import pod_group_crd
from kfcore_pytorch import PyTorchJobController

Jobs = untyped(Resource("example.com", "v1", "MarchJob", "marchjobs"))


def in_a_gang(job: Manifest, scheduler: str = "volcano", *objects: Manifest, **arguments: Any) -> Training:
    gang = gang_scheduler(scheduler)
    assert gang is not None
    options = OperatorOptions(gang_scheduler_name=scheduler)
    return Training(job, pod_group_crd(gang.kind.resource), *objects, options=options, **arguments)


def asking_for(job: Manifest, **requests: str) -> Manifest:
    container = job["spec"]["marchReplicaSpecs"]["Walker"]["template"]["spec"]["containers"][0]
    container["resources"] = {"requests": requests}
    return job


async def group(training: Training, kind: Any = VolcanoPodGroup) -> Manifest:
    found = await training.client.get(kind, "march", "default")
    raw: Manifest = found.raw
    return raw


async def set_phase(training: Training, phase: str) -> None:
    body = {"status": {"phase": phase}}
    await training.client.patch(VolcanoPodGroup, "march", "default", body, subresource="status")


async def test_pods_wait_until_volcano_lets_their_group_in() -> None:
    training = in_a_gang(asking_for(a_march_job(walkers=2), cpu="500m", memory="1Gi"))
    await training.reconciled()
    assert (await group(training))["spec"] == {
        "minMember": 2,
        "queue": "default",
        "minResources": {"cpu": "1000m", "memory": "2Gi"},
    }
    status = (await training.job()).status
    assert await training.pods() == []
    assert await training.conditions() == ["Created"]
    assert status.start_time is None
    assert status.last_reconcile_time is not None
    await set_phase(training, "Inqueue")
    await training.reconciled()
    assert await training.pods() == ["march-walker-0", "march-walker-1"]
    assert (await training.job()).status.start_time is not None
    pod = (await training.client.get(untyped(Resource("", "v1", "Pod", "pods")), "march-walker-0", "default")).raw
    assert pod["spec"]["schedulerName"] == "volcano"
    assert pod["metadata"]["annotations"] == {
        "scheduling.k8s.io/group-name": "march",
        "volcano.sh/task-spec": "walker",
    }


async def test_a_group_that_waits_is_looked_at_again_though_no_event_tells_of_it_and_nothing_is_written() -> None:
    training = in_a_gang(a_march_job())
    await training.reconciled()
    training.client.requests.clear()
    result = await training.reconcile()
    assert result.requeue_after == 30
    assert training.writes == []


async def test_a_group_is_patched_only_where_the_job_asks_for_something_else() -> None:  # B18
    training = in_a_gang(a_march_job(schedulingPolicy={"minAvailable": 1}))
    await training.reconciled()
    change = {"spec": {"queue": "night", "unknownToUs": 1}}
    await training.client.patch(VolcanoPodGroup, "march", "default", change)
    await set_phase(training, "Running")
    await training.reconciled()
    training.client.requests.clear()
    await training.reconciled()
    assert training.writes == []
    assert (await group(training))["spec"]["queue"] == "night"
    await training.patch({"runPolicy": {"schedulingPolicy": {"minAvailable": 2, "priorityClass": "high"}}})
    await training.reconciled()
    spec = (await group(training))["spec"]
    assert (spec["minMember"], spec["priorityClassName"], spec["queue"]) == (2, "high", "night")


async def test_the_most_important_pods_determine_the_resources_of_a_gang_that_may_begin_incomplete() -> None:
    job = asking_for(a_march_job(walkers=3, schedulingPolicy={"minAvailable": 2}), cpu="1")
    leader = asking_for(a_march_job(walkers=1), cpu="4")["spec"]["marchReplicaSpecs"]["Walker"]
    leader["template"]["spec"]["priorityClassName"] = "first"
    job["spec"]["marchReplicaSpecs"]["Leader"] = leader
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "first"}}
    training = in_a_gang(job)
    try:
        await training.client.create(
            untyped(Resource("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False)),
            {**priority, "value": 1000},
        )
    except NotFound:
        pytest.skip("the server has no priority classes")
    await training.reconciled()
    assert (await group(training))["spec"]["minResources"] == {"cpu": "5"}


async def test_scheduler_plugins_gets_its_group_and_the_pods_at_once() -> None:
    policy = {"minAvailable": 1, "scheduleTimeoutSeconds": 60, "minResources": {"cpu": "1"}}
    training = in_a_gang(a_march_job(schedulingPolicy=policy), "night-scheduler")
    await training.reconciled()
    assert (await group(training, SchedulerPluginsPodGroup))["spec"] == {
        "minMember": 1,
        "scheduleTimeoutSeconds": 60,
        "minResources": {"cpu": "1"},
    }
    assert {spec["schedulerName"] for spec in (await training.pod_specs()).values()} == {"night-scheduler"}


async def test_a_template_with_a_scheduler_of_its_own_keeps_it_and_that_is_told() -> None:
    job = a_march_job()
    job["spec"]["marchReplicaSpecs"]["Walker"]["template"]["spec"]["schedulerName"] = "mine"
    training = in_a_gang(job, "night-scheduler")
    await training.reconciled()
    assert {spec["schedulerName"] for spec in (await training.pod_specs()).values()} == {"mine"}
    assert await training.events("SetPodTemplateSchedulerName") == [
        "Another scheduler is specified when gang-scheduling is enabled and it will not be overwritten"
    ]


async def test_the_group_goes_when_the_job_ends_and_while_it_is_suspended() -> None:
    training = in_a_gang(a_march_job(), "night-scheduler")
    await training.reconciled()
    await training.patch({"runPolicy": {"suspend": True}})
    await training.reconciled()
    with pytest.raises(NotFound):
        await group(training, SchedulerPluginsPodGroup)
    await training.patch({"runPolicy": {"suspend": False}})
    await training.reconciled()
    await training.set(phase="Succeeded", exit_code=0)
    await training.reconciled()
    with pytest.raises(NotFound):
        await group(training, SchedulerPluginsPodGroup)
    assert await training.events("SuccessfulDeletePodGroup") == ["Deleted PodGroup: march"]


async def test_a_group_of_somebody_else_is_told_and_left_alone() -> None:
    foreign = {
        "apiVersion": "scheduling.x-k8s.io/v1alpha1",
        "kind": "PodGroup",
        "metadata": {"name": "march", "namespace": "default"},
        "spec": {"minMember": 7},
    }
    training = in_a_gang(a_march_job(), "night-scheduler", foreign)
    await training.reconciled()
    assert (await group(training, SchedulerPluginsPodGroup))["spec"] == {"minMember": 7}
    assert await training.pods() == []
    assert len(await training.events("FailedCreatePodGroup")) == 1


async def test_an_elastic_job_may_begin_with_its_fewest_workers() -> None:  # B19
    template = {"spec": {"containers": [{"name": "pytorch", "image": "busybox"}]}}
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "march", "namespace": "default"},
        "spec": {
            "elasticPolicy": {"minReplicas": 2, "maxReplicas": 6},
            "pytorchReplicaSpecs": {"Worker": {"replicas": 5, "template": template}},
        },
    }
    training = in_a_gang(job, controller=PyTorchJobController)
    await training.reconciled()
    assert (await group(training))["spec"]["minMember"] == 2


def test_the_gang_schedulers_name_is_taken_in_any_case_and_none_means_none() -> None:
    volcano = gang_scheduler("Volcano")
    assert volcano is not None
    assert volcano.kind is VolcanoPodGroup
    assert gang_scheduler("None") is gang_scheduler("") is None


async def test_the_deadline_of_a_resumed_job_begins_with_the_resumption_while_its_group_waits() -> None:
    training = in_a_gang(a_march_job(activeDeadlineSeconds=60))
    await training.reconciled()
    await set_phase(training, "Inqueue")
    await training.reconciled()
    await training.patch({"runPolicy": {"suspend": True}})
    await training.reconciled()
    await training.after(100)
    await training.patch({"runPolicy": {"suspend": False}})
    await training.reconciled()
    assert (await training.job()).status.start_time == training.clock.now()
    assert await training.conditions() == ["Created", "Suspended=False"]
    assert (await training.after(50)).requeue_after == 10
    await training.after(10)
    assert await training.conditions() == ["Created", "Suspended=False", "Failed"]
