"""What users of the training operator saw when a job should have ended, and what they see here. The numbers are those
of docs/compatibility.md.
"""

from __future__ import annotations

import pytest
from training import Training, a_march_job

from kfcore.client.errors import NotFound


async def test_a_job_whose_time_to_live_is_0_is_seen_as_failed_before_it_is_deleted() -> None:  # B5
    training = Training(a_march_job(activeDeadlineSeconds=10, ttlSecondsAfterFinished=0))
    await training.reconciled()
    await training.after(10)
    assert (await training.job()).status.is_true("Failed")
    await training.reconcile()
    with pytest.raises(NotFound):
        await training.job()


async def test_the_time_to_live_goes_on_after_the_operator_restarts() -> None:  # B16
    training = Training(a_march_job(ttlSecondsAfterFinished=100))
    await training.reconciled()
    await training.set(phase="Succeeded", exit_code=0)
    await training.reconciled()
    await training.clock.advance(40)
    training.restart_operator()
    assert (await training.reconcile()).requeue_after == pytest.approx(60, abs=2)
    await training.after(60)
    with pytest.raises(NotFound):
        await training.job()


async def test_the_deadline_goes_on_after_the_operator_restarts_and_starts_anew_after_a_suspension() -> None:  # B1
    training = Training(a_march_job(activeDeadlineSeconds=100))
    await training.reconciled()
    await training.clock.advance(60)
    training.restart_operator()
    assert (await training.reconcile()).requeue_after == pytest.approx(40, abs=2)
    await training.patch({"runPolicy": {"suspend": True}})
    await training.reconciled()
    await training.clock.advance(1000)
    await training.patch({"runPolicy": {"suspend": False}})
    assert (await training.reconcile()).requeue_after == pytest.approx(100, abs=2)


async def test_a_suspended_job_with_a_time_to_live_becomes_suspended() -> None:  # B17
    training = Training(a_march_job(suspend=True, ttlSecondsAfterFinished=0))
    await training.reconciled()
    assert await training.conditions() == ["Created", "Suspended"]


async def test_a_job_that_was_marked_failed_without_an_end_is_deleted_all_the_same() -> None:  # B3
    job = a_march_job(ttlSecondsAfterFinished=60)
    failed = {"type": "Failed", "status": "True", "reason": "MarchJobFailed", "message": "by an older operator"}
    since = {"lastUpdateTime": "2020-01-01T00:00:00Z", "lastTransitionTime": "2020-01-01T00:00:00Z"}
    training = Training({**job, "status": {"conditions": [{**failed, **since}]}})
    await training.reconciled()
    with pytest.raises(NotFound):
        await training.job()


async def test_the_pods_of_a_failed_job_are_kept_for_their_logs_but_do_not_run_on() -> None:  # B4
    training = Training(a_march_job(walkers=3, activeDeadlineSeconds=10))
    await training.reconciled()
    await training.set("march-walker-0", phase="Succeeded", exit_code=0)
    await training.set("march-walker-1", "march-walker-2", phase="Running")
    await training.after(10)
    await training.reconciled()
    assert await training.pods() == ["march-walker-0"]
    assert await training.services() == ["march-walker-0"]


async def test_services_whose_pod_is_gone_already_are_cleaned_up_too() -> None:  # B13
    training = Training(a_march_job(cleanPodPolicy="All"))
    await training.reconciled()
    await training.set(phase="Succeeded", exit_code=0)
    await training.reconcile()
    for pod in await training.pods():
        await training.delete(pod)
    await training.reconciled()
    assert await training.services() == []


async def test_the_pods_of_a_former_job_of_the_name_are_waited_for_and_left_alone() -> None:  # B14
    training = Training(a_march_job())
    await training.reconciled()
    former = [await training.uid(pod) for pod in await training.pods()]
    await training.recreate_job(a_march_job())
    result = await training.reconcile()
    assert result.requeue_after is not None
    assert [await training.uid(pod) for pod in await training.pods()] == former
    for pod in await training.pods():
        await training.delete(pod)
    await training.reconciled()
    assert len(await training.pods()) == 2
    assert not set(former) & {await training.uid(pod) for pod in await training.pods()}


async def test_the_event_of_a_failure_names_the_pod_and_its_exit_code() -> None:
    training = Training(a_march_job(restart_policy="Never"))
    await training.reconciled()
    await training.set("march-walker-1", phase="Failed", exit_code=3)
    await training.reconciled()
    assert await training.events("MarchJobFailed") == [
        "MarchJob march is failed because 1 Walker replica(s) failed. Pod march-walker-1: exit code 3."
    ]
