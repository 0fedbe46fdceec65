"""A cache that does not show the operator's own writes yet must not make it act twice."""

from __future__ import annotations

from training import MarchJob, MarchJobController, Snapshot, Training, a_march_job


async def test_pods_are_created_once_when_the_cache_is_stale() -> None:
    training = Training(a_march_job())
    reader = Snapshot(training)
    training.controller = MarchJobController(training.client, reader=reader, clock=training.clock)
    await reader.look()
    await training.reconcile()
    training.client.requests.clear()
    result = await training.reconcile()
    assert training.writes == []
    assert result.requeue_after
    await reader.look()
    await training.reconcile()
    assert [path.rsplit("/", 1)[1] for _, path in training.writes] == ["status"]
    assert await training.conditions() == ["Created"]


async def test_a_failed_replica_is_recreated_once_when_the_cache_is_stale() -> None:
    training = Training(a_march_job(restart_policy="ExitCode"))
    reader = Snapshot(training)
    training.controller = MarchJobController(training.client, reader=reader, clock=training.clock)
    await reader.look()
    await training.reconcile()
    await training.set("march-walker-0", phase="Failed", exit_code=137)
    await reader.look()
    await training.reconciled()
    assert (await training.job()).status.restarts["Walker"].count == 1
    await reader.look()
    await training.reconciled()
    await reader.look()
    await training.reconciled()
    assert (await training.job()).status.restarts["Walker"].count == 1
    assert await training.pods() == ["march-walker-0", "march-walker-1"]


async def test_restarts_are_counted_on_while_the_cache_shows_none_of_the_job_s_changes() -> None:
    training = Training(a_march_job(restart_policy="ExitCode"))
    reader = Snapshot(training)
    training.controller = MarchJobController(training.client, reader=reader, clock=training.clock)
    await reader.look()
    await training.reconcile()
    for _ in range(3):
        await training.set("march-walker-0", phase="Failed", exit_code=137)
        for _ in range(4):
            await reader.look_at_pods()
            await training.reconcile()
        await training.clock.advance(60)
    assert (await training.job()).status.restarts["Walker"].count == 3


async def test_a_job_recreated_at_once_does_not_wait_for_what_its_predecessor_created() -> None:
    training = Training(a_march_job(), cached=True)
    await training.reconcile()
    await training.recreate_job(a_march_job())
    result = await training.reconcile()
    assert result.requeue_after == 1  # the pods of the former one are still ending


async def test_a_restarted_operator_with_a_stale_cache_takes_its_own_pods_for_created() -> None:  # B9
    training = Training(a_march_job())
    reader = Snapshot(training)
    await reader.look()
    await training.reconcile()
    training.controller = MarchJobController(training.client, reader=reader, clock=training.clock)
    await training.reconcile()
    assert await training.events("FailedCreatePod") == []
    assert await training.pods() == ["march-walker-0", "march-walker-1"]


async def seen_to_have_ended() -> tuple[Training, Snapshot]:
    """A job whose time to live is over, and a reader who has seen that."""
    training = Training(a_march_job(ttlSecondsAfterFinished=60))
    await training.reconciled()
    await training.set(phase="Succeeded", exit_code=0)
    await training.reconciled()
    reader = Snapshot(training)
    await reader.look()
    training.controller = MarchJobController(training.client, reader=reader, clock=training.clock)
    await training.clock.advance(60)
    return training, reader


async def test_a_job_recreated_under_its_old_name_is_not_deleted_in_its_place() -> None:  # B14
    training, reader = await seen_to_have_ended()
    old = await training.job()
    await training.client.delete(MarchJob, "march", "default")
    await training.client.create(MarchJob, a_march_job(), "default")
    assert (await training.reconcile()).requeue_after
    assert (await training.job()).metadata.uid != old.metadata.uid
    await reader.look()
    await training.reconcile()
    assert await training.pods() == ["march-walker-0", "march-walker-1"]


async def test_a_job_that_is_to_live_longer_is_not_deleted_by_who_has_not_seen_that() -> None:  # B14
    training, reader = await seen_to_have_ended()
    await training.patch({"runPolicy": {"ttlSecondsAfterFinished": 600}})
    assert (await training.reconcile()).requeue_after
    await reader.look()
    assert (await training.reconcile()).requeue_after == 540
    await training.clock.advance(540)
    await training.reconcile()
    assert not await training.client.list(MarchJob, "default")


async def test_a_job_that_ends_and_goes_at_once_is_deleted_though_the_cache_shows_neither() -> None:
    training = Training(a_march_job(ttlSecondsAfterFinished=0))
    await training.reconciled()
    reader = Snapshot(training)
    await reader.look()
    training.controller = MarchJobController(training.client, reader=reader, clock=training.clock)
    await training.set(phase="Succeeded", exit_code=0)
    await reader.look_at_pods()
    await training.reconciled(times=2)
    assert not await training.client.list(MarchJob, "default")
