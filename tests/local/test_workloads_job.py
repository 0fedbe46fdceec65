"""batch Jobs: completions, failures and their back-off, indexes, deadlines, suspension and the time to live."""

from __future__ import annotations

from typing import Any

import pytest
from workload_cluster import a_cluster, reasons, workload

from kfcore_local.workloads.job_pods import parse_indexes, render_indexes
from kfcore_local.workloads.kinds import BatchJob, Pod

TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "one"}]}}


def a_job(**spec: Any) -> dict[str, Any]:
    return workload("Job", "sum", template=TEMPLATE, **spec)


async def status(cluster) -> dict[str, Any]:
    return (await cluster.get(BatchJob, "sum"))["status"]


async def active(cluster) -> list[str]:
    return [pod.name for pod in await cluster.pods() if pod.status.phase not in ("Succeeded", "Failed")]


async def test_a_job_completes_when_its_pod_has_succeeded():
    async with a_cluster() as cluster:
        await cluster.create(BatchJob, a_job())
        [name] = await active(cluster)
        assert (await status(cluster))["active"] == 1
        assert (await cluster.get(Pod, name))["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "sum"
        await cluster.play_kubelet()
        assert (await status(cluster))["ready"] == 1
        await cluster.end(name, 0)
        found = await status(cluster)
        assert reasons(found["conditions"]) == {
            "SuccessCriteriaMet": ("True", "CompletionsReached"),
            "Complete": ("True", "CompletionsReached"),
        }
        assert (found["succeeded"], found.get("active", 0)) == (1, 0)
        assert found["completionTime"] >= found["startTime"]
        assert ("Completed", "Job completed") in await cluster.events("Job")


async def test_parallelism_limits_how_many_pods_run_at_once():
    async with a_cluster() as cluster:
        await cluster.create(BatchJob, a_job(completions=3, parallelism=2))
        assert len(await active(cluster)) == 2
        await cluster.end((await active(cluster))[0], 0)
        assert len(await active(cluster)) == 2
        await cluster.end((await active(cluster))[0], 0)
        assert len(await active(cluster)) == 1
        await cluster.end((await active(cluster))[0], 0)
        assert reasons((await status(cluster))["conditions"])["Complete"][0] == "True"


async def test_a_failed_pod_is_replaced_after_a_growing_delay_until_the_limit():
    async with a_cluster() as cluster:
        await cluster.create(BatchJob, a_job(backoffLimit=1))
        await cluster.end((await active(cluster))[0], 1)
        assert await active(cluster) == []
        await cluster.clock.advance(11)
        await cluster.end((await active(cluster))[0], 1)
        found = await status(cluster)
        assert reasons(found["conditions"]) == {
            "FailureTarget": ("True", "BackoffLimitExceeded"),
            "Failed": ("True", "BackoffLimitExceeded"),
        }
        assert found["failed"] == 2
        message = "Job has reached the specified backoff limit"
        assert ("BackoffLimitExceeded", message) in await cluster.events("Job")


async def test_an_indexed_job_gives_every_pod_its_index():
    async with a_cluster() as cluster:
        await cluster.create(BatchJob, a_job(completions=3, parallelism=3, completionMode="Indexed"))
        pods = {
            pod.metadata.annotations["batch.kubernetes.io/job-completion-index"]: pod for pod in await cluster.pods()
        }
        assert sorted(pods) == ["0", "1", "2"]
        assert pods["1"].name.startswith("sum-1-")
        manifest = await cluster.get(Pod, pods["1"].name)
        assert manifest["spec"]["hostname"] == "sum-1"
        assert manifest["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
        await cluster.end(pods["0"].name, 0)
        await cluster.end(pods["2"].name, 0)
        assert (await status(cluster))["completedIndexes"] == "0,2"
        await cluster.end(pods["1"].name, 1)
        await cluster.clock.advance(11)
        [again] = await active(cluster)
        assert again.startswith("sum-1-")


async def test_a_job_that_takes_too_long_fails_and_its_pods_are_stopped():
    async with a_cluster() as cluster:
        await cluster.create(BatchJob, a_job(activeDeadlineSeconds=30))
        await cluster.play_kubelet()
        await cluster.clock.advance(31)
        await cluster.settle()
        found = await status(cluster)
        assert reasons(found["conditions"])["Failed"] == ("True", "DeadlineExceeded")
        assert await cluster.pods() == []
        assert found["failed"] == 1


async def test_a_suspended_job_has_no_pods_until_it_is_resumed():
    async with a_cluster() as cluster:
        await cluster.create(BatchJob, a_job(suspend=True))
        assert await cluster.pods() == []
        assert "startTime" not in await status(cluster)
        await cluster.patch(BatchJob, "sum", {"spec": {"suspend": False}})
        assert len(await active(cluster)) == 1
        await cluster.patch(BatchJob, "sum", {"spec": {"suspend": True}})
        assert await active(cluster) == []
        found = await status(cluster)
        assert reasons(found["conditions"]) == {"Suspended": ("True", "JobSuspended")}
        assert found.get("active", 0) == 0


async def test_a_finished_job_goes_when_its_time_to_live_is_over():
    async with a_cluster() as cluster:
        await cluster.create(BatchJob, a_job(ttlSecondsAfterFinished=60))
        await cluster.end((await active(cluster))[0], 0)
        await cluster.clock.advance(30)
        assert await cluster.names(BatchJob) == ["sum"]
        await cluster.clock.advance(31)
        await cluster.settle()
        assert await cluster.names(BatchJob) == await cluster.names(Pod) == []


@pytest.mark.parametrize("text", ["", "0", "0,1", "0,2-4,7"])
def test_completed_indexes_survive_the_round_trip(text: str):
    assert render_indexes(frozenset(parse_indexes(text))) == text


async def test_a_failing_job_has_failed_only_when_its_last_pod_is_gone():
    async with a_cluster() as cluster:
        template = {"spec": {**TEMPLATE["spec"], "nodeName": "node"}}
        await cluster.create(BatchJob, workload("Job", "sum", template=template, activeDeadlineSeconds=30))
        await cluster.play_kubelet()
        await cluster.clock.advance(31)
        found = await status(cluster)
        assert reasons(found["conditions"]) == {"FailureTarget": ("True", "DeadlineExceeded")}
        assert (found.get("active", 0), found["terminating"]) == (0, 1)
        await cluster.finish_deletions()
        found = await status(cluster)
        assert reasons(found["conditions"])["Failed"] == ("True", "DeadlineExceeded")
        assert (found["terminating"], found["failed"]) == (0, 1)


async def test_pods_that_restart_in_place_count_against_the_limit():
    async with a_cluster() as cluster:
        template = {"spec": {**TEMPLATE["spec"], "restartPolicy": "OnFailure"}}
        await cluster.create(BatchJob, workload("Job", "sum", template=template, backoffLimit=2))
        [name] = await active(cluster)
        running = {"name": "c", "ready": False, "image": "one", "imageID": "", "restartCount": 2}
        body = {"status": {"phase": "Running", "containerStatuses": [running]}}
        await cluster.client.patch(Pod, name, "default", body, subresource="status")
        await cluster.settle()
        assert reasons((await status(cluster))["conditions"])["Failed"] == ("True", "BackoffLimitExceeded")
        assert await cluster.pods() == []
