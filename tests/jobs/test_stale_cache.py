"""A cache that does not show the operator's own writes yet must not make it act twice."""

from __future__ import annotations

from typing import Any

from training import MarchJobController, Training, a_march_job

from kfcore.api.core import Pod, Service
from kfcore.client.interface import ObjectList


class Snapshot:
    """A reader that shows the cluster as it was when it last looked."""

    def __init__(self, training: Training) -> None:
        self.client, self._seen = training.client, dict[str, Any]()

    async def look(self) -> None:
        self._seen["job"] = await self.client.get(MarchJobController.kind, "march", "default")
        await self.look_at_pods()

    async def look_at_pods(self) -> None:
        self._seen |= {
            "Pod": list(await self.client.list(Pod, "default")),
            "Service": list(await self.client.list(Service, "default")),
        }

    async def get(self, kind: Any, name: str, namespace: str | None = None) -> Any:
        return self._seen["job"]

    async def list(self, kind: Any, namespace: str | None = None, **selectors: Any) -> Any:
        return ObjectList(self._seen[kind.resource.kind])

    async def list_owned(self, kind: Any, owner: Any, **selectors: Any) -> Any:
        return ObjectList(self._seen[kind.resource.kind])


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
