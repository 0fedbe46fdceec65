"""A job controller set up in a manager: events in, writes out, nobody calls `reconcile`."""

from __future__ import annotations

import asyncio
from collections import Counter

from training import MarchJobController, Training, a_march_job

from kfcore.controller.manager import Manager
from kfcore.jobs.controller import GATHER_SECONDS
from kfcore.jobs.held_counts import HOLD_SECONDS
from kfcore.jobs.options import OperatorOptions
from kfcore.testing import settle


async def seen(training: Training) -> None:
    """Until the operator has looked at what the pods do now."""
    await settle()
    await training.clock.advance(GATHER_SECONDS)
    await settle()


async def test_a_job_runs_to_its_end_and_is_deleted_when_its_time_is_over() -> None:
    training = Training(a_march_job(walkers=3, ttlSecondsAfterFinished=60))
    manager = Manager(training.client, clock=training.clock)
    MarchJobController.setup(manager, OperatorOptions(workers=2))
    running = asyncio.create_task(manager.run())
    try:
        await settle()
        assert len(await training.pods()) == 3
        await seen(training)
        assert await training.conditions() == ["Created"]
        await training.set(phase="Running")
        await seen(training)
        assert await training.conditions() == ["Created", "Running"]
        await training.set(phase="Succeeded", exit_code=0)
        await seen(training)
        assert await training.conditions() == ["Created", "Running=False", "Succeeded"]
        posts = [path.rsplit("/", 1)[1] for method, path in training.writes if method == "POST"]
        assert (posts.count("pods"), posts.count("services")) == (3, 3)
        await training.clock.advance(61)
        await settle()
        jobs = await training.client.list(MarchJobController.kind, "default")
        assert [job for job in jobs if job.metadata.deletion_timestamp is None] == []
    finally:
        manager.stop()
        await running


async def test_a_job_whose_pods_run_at_once_costs_two_status_writes() -> None:
    training = Training(a_march_job(walkers=4))
    manager = Manager(training.client, clock=training.clock)
    MarchJobController.setup(manager, OperatorOptions())
    running = asyncio.create_task(manager.run())
    try:
        await settle()
        await training.set(phase="Running")
        await seen(training)
        assert await training.conditions() == ["Created", "Running"]
        await training.set(phase="Succeeded", exit_code=0)
        await seen(training)
        assert await training.conditions() == ["Created", "Running=False", "Succeeded"]
        theirs = [("PATCH", f"/api/v1/namespaces/default/pods/march-walker-{index}/status") for index in range(4)] * 2
        writes = Counter(
            path.split("/default/")[1].split("/")[0]
            for _, path in (Counter(training.writes) - Counter(theirs)).elements()
        )
        assert writes == {"services": 4, "pods": 4, "events": 4, "marchjobs": 2}
    finally:
        manager.stop()
        await running


async def test_pods_that_start_one_after_the_other_cost_one_status_write_for_their_number() -> None:
    training = Training(a_march_job(walkers=6))
    manager = Manager(training.client, clock=training.clock)
    MarchJobController.setup(manager, OperatorOptions())
    running = asyncio.create_task(manager.run())
    try:
        await settle()
        await seen(training)
        training.client.requests.clear()
        for index in range(6):
            await training.set(f"march-walker-{index}", phase="Running")
            await seen(training)
        assert await training.conditions() == ["Created", "Running"]
        await training.clock.advance(HOLD_SECONDS)
        await settle()
        assert (await training.job()).status.replica_statuses["Walker"].active == 6
        assert len([path for _, path in training.writes if path.endswith("/marchjobs/march/status")]) == 2
    finally:
        manager.stop()
        await running
