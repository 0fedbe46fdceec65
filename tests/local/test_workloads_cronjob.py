"""CronJobs: when a job is started, how many at once, and which are kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from workload_cluster import TEMPLATE, Cluster, a_cluster

from kfcore.api.core import Event
from kfcore.api.meta import Manifest
from kfcore_local.workloads.cron import parse
from kfcore_local.workloads.kinds import BatchJob, CronJob

JOB_POD = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}


def a_cron_job(schedule: str = "*/5 * * * *", **spec: Any) -> Manifest:
    template = {"metadata": {"labels": {"of": "cron"}}, "spec": {"template": JOB_POD, "backoffLimit": 0}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "tick", "namespace": "default"},
        "spec": {"schedule": schedule, "jobTemplate": template, **spec},
    }


async def pass_minutes(cluster: Cluster, minutes: float) -> None:
    await cluster.clock.advance(minutes * 60)
    await cluster.settle()


async def end_jobs(cluster: Cluster, exit_code: int = 0) -> None:
    for pod in await cluster.pods():
        if pod.status.phase in ("", "Pending"):
            await cluster.end(pod.name, exit_code)
    await cluster.settle()


async def reasons_of(cluster: Cluster) -> list[str]:
    await cluster.manager.recorder("cronjob-controller").flush()
    return [event.reason for event in await cluster.client.list(Event, "default")]


async def test_a_job_is_started_when_its_time_comes_and_says_so() -> None:
    async with a_cluster() as cluster:
        await cluster.create(CronJob, a_cron_job())
        assert await cluster.names(BatchJob) == []
        await pass_minutes(cluster, 5)
        [name] = await cluster.names(BatchJob)
        job = await cluster.get(BatchJob, name)
        assert job["metadata"]["labels"]["of"] == "cron"
        status = (await cluster.get(CronJob, "tick"))["status"]
        assert [reference["name"] for reference in status["active"]] == [name]
        assert "SuccessfulCreate" in await reasons_of(cluster)
        await end_jobs(cluster)
        status = (await cluster.get(CronJob, "tick"))["status"]
        assert "active" not in status
        assert status["lastSuccessfulTime"]


async def test_of_the_finished_jobs_the_last_few_are_kept() -> None:
    async with a_cluster() as cluster:
        await cluster.create(CronJob, a_cron_job(successfulJobsHistoryLimit=2, failedJobsHistoryLimit=1))
        for exit_code in (0, 1, 0, 1, 0):
            await pass_minutes(cluster, 5)
            await end_jobs(cluster, exit_code)
        jobs = [await cluster.get(BatchJob, name) for name in await cluster.names(BatchJob)]
        assert sum(bool(job["status"].get("succeeded")) for job in jobs) == 2
        assert sum(bool(job["status"].get("failed")) for job in jobs) == 1


@pytest.mark.parametrize(("policy", "count"), [("Allow", 2), ("Forbid", 1), ("Replace", 1)])
async def test_while_one_runs_the_next_comes_too_or_waits_or_takes_its_place(policy: str, count: int) -> None:
    async with a_cluster() as cluster:
        await cluster.create(CronJob, a_cron_job(concurrencyPolicy=policy))
        await pass_minutes(cluster, 5)
        first = await cluster.names(BatchJob)
        await pass_minutes(cluster, 5)
        names = await cluster.names(BatchJob)
        assert len(names) == count
        assert (first[0] in names) is (policy != "Replace")


async def test_a_suspended_one_starts_nothing_and_catches_up_with_the_last_when_resumed() -> None:
    async with a_cluster() as cluster:
        await cluster.create(CronJob, a_cron_job(suspend=True))
        await pass_minutes(cluster, 33)
        assert await cluster.names(BatchJob) == []
        await cluster.patch(CronJob, "tick", {"spec": {"suspend": False}})
        assert len(await cluster.names(BatchJob)) == 1


async def test_a_start_that_is_too_late_is_left_out() -> None:
    async with a_cluster() as cluster:
        await cluster.create(CronJob, a_cron_job("0 * * * *", suspend=True, startingDeadlineSeconds=60))
        await pass_minutes(cluster, 90)
        await cluster.patch(CronJob, "tick", {"spec": {"suspend": False}})
        assert await cluster.names(BatchJob) == []


TIME = datetime(2024, 2, 28, 23, 58, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "following"),
    [
        ("* * * * *", "2024-02-28T23:59"),
        ("*/15 * * * *", "2024-02-29T00:00"),
        ("30 4 1,15 * *", "2024-03-01T04:30"),
        ("0 0 29 feb *", "2024-02-29T00:00"),
        ("0 9-17/4 * * mon-fri", "2024-02-29T09:00"),
        ("0 12 * * 7", "2024-03-03T12:00"),
        ("0 12 13 * fri", "2024-03-01T12:00"),
        ("0 0 */2 * sat", "2024-02-29T00:00"),
        ("0 0 */1 * sat", "2024-03-02T00:00"),
        ("@monthly", "2024-03-01T00:00"),
        ("@every 90m", "2024-02-29T01:28"),
    ],
)
def test_a_schedule_says_when_the_next_time_is(schedule: str, following: str) -> None:
    found = parse(schedule).after(TIME, UTC)
    assert found is not None
    assert found.strftime("%Y-%m-%dT%H:%M") == following


def test_a_schedule_goes_by_the_clocks_of_its_zone() -> None:
    zone = ZoneInfo("Europe/Berlin")
    night = datetime(2024, 3, 31, 0, 0, tzinfo=UTC)
    # At two the clocks went to three: half past two was not that night.
    assert parse("30 2 * * *").after(night, zone) == datetime(2024, 4, 1, 0, 30, tzinfo=UTC)
    assert parse("0 12 * * *").after(night, zone) == datetime(2024, 3, 31, 10, 0, tzinfo=UTC)


def test_a_time_that_never_comes_is_none() -> None:
    assert parse("0 0 30 2 *").after(TIME, UTC) is None


@pytest.mark.parametrize(
    "schedule", ["", "* * * *", "60 * * * *", "* * * * mo", "*/0 * * * *", "@every now", "5-1 * * * *"]
)
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError):
        parse(schedule)
