"""Suspending, limits, clean-up and restarts, as a user sees them."""

from __future__ import annotations

import pytest
from training import MarchJob, Training, a_march_job

from kfcore.api.core import Pod
from kfcore.client.errors import NotFound, ServiceUnavailable


async def test_suspending_deletes_pods_and_services_and_resuming_starts_anew() -> None:
    training = Training(a_march_job())
    await training.reconcile()
    await training.set(phase="Running")
    await training.reconcile()
    await training.patch({"runPolicy": {"suspend": True}})
    await training.reconciled()
    assert await training.pods() == await training.services() == []
    assert await training.conditions() == ["Created", "Running=False", "Suspended"]
    await training.clock.advance(60)
    await training.patch({"runPolicy": {"suspend": False}})
    await training.reconciled()
    await training.set(phase="Running")
    await training.reconcile()
    assert await training.conditions() == ["Created", "Suspended=False", "Running"]
    assert (await training.job()).status.start_time == training.clock.now()


async def test_a_job_active_beyond_its_deadline_fails_without_any_other_event() -> None:  # B1
    training = Training(a_march_job(activeDeadlineSeconds=30))
    assert (await training.reconcile()).requeue_after == 30
    await training.set(phase="Running")
    await training.after(30)
    assert await training.conditions() == ["Created", "Failed"]
    assert (await training.job()).status.conditions[-1].message == (
        "Job march has failed because it was active longer than specified deadline"
    )
    await training.reconciled()
    assert await training.pods() == []


async def test_the_failure_by_deadline_is_written_before_the_pods_are_deleted() -> None:  # B4
    training = Training(a_march_job(activeDeadlineSeconds=1, ttlSecondsAfterFinished=0))
    await training.reconcile()
    training.client.requests.clear()
    await training.after(1)
    methods = [(method, path.split("/")[-1]) for method, path in training.writes if not path.endswith("/events")]
    assert methods[0] == ("PATCH", "status")
    assert "Failed" in await training.conditions()


@pytest.mark.parametrize(("limit", "restarts", "fails"), [(0, 0, False), (0, 1, True), (3, 2, False), (3, 3, True)])
async def test_restarts_by_the_kubelet_count_against_the_back_off_limit(limit: int, restarts: int, fails: bool) -> None:
    training = Training(a_march_job(backoffLimit=limit))
    await training.reconcile()
    await training.set("march-walker-0", phase="Running", restarts=restarts)
    await training.reconcile()
    assert ("Failed" in await training.conditions()) is fails


async def test_pods_that_the_operator_recreated_count_against_the_back_off_limit_after_it_restarts() -> None:  # B2
    training = Training(a_march_job(restart_policy="ExitCode", backoffLimit=2))
    await training.reconcile()
    await training.set("march-walker-0", phase="Failed", exit_code=137)
    await training.reconciled()
    assert (await training.job()).status.restarts["Walker"].count == 1
    training.restart_operator()
    await training.clock.advance(60)
    await training.set("march-walker-0", phase="Failed", exit_code=137)
    await training.reconciled()
    assert "Failed" in await training.conditions()


async def test_a_replica_killed_by_a_signal_is_created_again_under_exit_code() -> None:
    training = Training(a_march_job(restart_policy="ExitCode"))
    await training.reconcile()
    await training.set(phase="Running")
    before = await training.uid("march-walker-0")
    await training.set("march-walker-0", phase="Failed", exit_code=137)
    await training.reconcile()
    assert await training.conditions() == ["Created", "Restarting"]
    await training.reconcile()
    assert await training.uid("march-walker-0") != before
    await training.set(phase="Running")
    await training.reconcile()
    assert await training.conditions() == ["Created", "Running"]


async def test_the_second_restart_waits_longer_than_the_first() -> None:  # B2
    training = Training(a_march_job(restart_policy="ExitCode"))
    await training.reconcile()
    await training.set("march-walker-0", phase="Failed", exit_code=137)
    await training.reconciled()
    await training.set("march-walker-0", phase="Failed", exit_code=137)
    failed = await training.uid("march-walker-0")
    result = await training.reconcile()
    assert result.requeue_after == 10
    assert await training.uid("march-walker-0") == failed
    await training.clock.advance(10)
    await training.reconciled()
    assert await training.uid("march-walker-0") != failed


async def test_an_exit_code_of_the_program_fails_the_job_and_sets_its_end() -> None:  # B3
    training = Training(a_march_job(restart_policy="ExitCode"))
    await training.reconcile()
    await training.set("march-walker-1", phase="Failed", exit_code=2)
    await training.reconcile()
    status = (await training.job()).status
    assert await training.conditions() == ["Created", "Failed"]
    assert status.conditions[-1].message == 'job "march" is failing because "Walker" replica(s) failed.'
    assert status.completion_time is not None
    assert "Pod march-walker-1: exit code 2." in (await training.events("MarchJobFailed"))[0]


async def test_a_failed_replica_that_is_never_restarted_fails_the_job() -> None:
    training = Training(a_march_job(restart_policy="Never"))
    await training.reconcile()
    await training.set("march-walker-1", phase="Failed", exit_code=1)
    await training.reconcile()
    assert (await training.job()).status.conditions[-1].message == (
        "MarchJob march is failed because 1 Walker replica(s) failed."
    )


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ("None", ["march-walker-0", "march-walker-1"]),
        ("Running", ["march-walker-0"]),
        ("All", []),
    ],
)
async def test_the_clean_up_policy_says_which_pods_outlive_the_job(policy: str, kept: list[str]) -> None:
    training = Training(a_march_job(restart_policy="Never", cleanPodPolicy=policy))
    await training.reconcile()
    await training.set("march-walker-0", phase="Failed", exit_code=1)
    await training.set("march-walker-1", phase="Running")
    await training.reconciled()
    assert await training.pods() == kept
    assert await training.services() == kept


async def test_a_finished_job_is_deleted_when_its_time_to_live_is_over() -> None:
    training = Training(a_march_job(ttlSecondsAfterFinished=100))
    await training.reconcile()
    await training.set(phase="Succeeded", exit_code=0)
    assert (await training.reconcile()).requeue_after == 100
    training.restart_operator()
    assert (await training.after(99)).requeue_after == 1
    await training.after(1)
    with pytest.raises(NotFound):
        await training.client.get(MarchJob, "march", "default")


async def test_a_job_that_cannot_be_deleted_says_so_and_is_tried_again() -> None:
    training = Training(a_march_job(ttlSecondsAfterFinished=60))
    await training.reconciled()
    await training.set(phase="Succeeded", exit_code=0)
    await training.reconciled()
    await training.clock.advance(60)
    with training.refusing("DELETE", "/marchjobs/march"), pytest.raises(ServiceUnavailable):
        await training.reconcile()
    await training.reconcile()
    assert await training.events("FailedDeleteJob") == ["Error deleting: the server is ill"]
    with pytest.raises(NotFound):
        await training.job()


async def test_a_failed_job_stays_failed_when_its_pods_change() -> None:  # B11
    training = Training(a_march_job(restart_policy="Never"))
    await training.reconcile()
    await training.set("march-walker-0", phase="Failed", exit_code=1)
    await training.reconcile()
    await training.set(phase="Succeeded", exit_code=0)
    await training.reconciled()
    assert await training.conditions() == ["Created", "Failed"]


async def test_with_a_back_off_limit_of_0_the_first_failure_stops_the_job_though_nothing_restarts() -> None:
    training = Training(a_march_job(restart_policy="Never", backoffLimit=0))
    await training.reconciled()
    await training.set(phase="Running")
    await training.reconciled()
    await training.set("march-walker-0", phase="Failed", exit_code=3)
    await training.reconciled()
    message = "Job march has failed because it has reached the specified backoff limit"
    assert (await training.job()).status.conditions[-1].message == message
    assert await training.events("MarchJobFailed") == [f"{message} Pod march-walker-0: exit code 3."]
    assert await training.pods() == ["march-walker-0"]  # kept for its log; the other one was stopped


async def test_a_finished_job_that_is_suspended_is_kept_until_it_is_not() -> None:
    training = Training(a_march_job(ttlSecondsAfterFinished=60))
    await training.reconciled()
    await training.set(phase="Succeeded", exit_code=0)
    await training.reconciled()
    await training.patch({"runPolicy": {"suspend": True}})
    await training.reconciled()
    await training.after(3600)
    assert await training.conditions() == ["Created", "Succeeded"]
    await training.patch({"runPolicy": {"suspend": False}})
    await training.reconciled()
    with pytest.raises(NotFound):
        await training.job()


async def test_a_job_keeps_saying_since_when_it_restarts_while_a_failed_replica_waits_for_its_time() -> None:
    training = Training(a_march_job(walkers=3))
    for _ in range(2):
        await training.reconciled()
        await training.set(phase="Running")
        await training.reconciled()
        await training.set("march-walker-0", phase="Failed", exit_code=1)
        await training.reconcile()
    told, since = await training.events("MarchJobRestarting"), (await training.job()).status.conditions[-1]
    await training.client.patch(Pod, "march-walker-1", "default", {"metadata": {"labels": {"seen": "true"}}})
    await training.after(5)
    assert (await training.job()).status.conditions[-1] == since
    assert await training.events("MarchJobRestarting") == told
    assert since.type == "Restarting"
