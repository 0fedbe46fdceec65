"""The operator dies before any one of its writes, or just after it, and another takes over: nothing is done twice, or
forgotten. The loops go over all points of a job's whole life.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import pytest
from training import MarchJob, Training, a_march_job

from kfcore.client.errors import Invalid
from kfcore.client.transport import Request
from kfcore_pytorch import PyTorchJobController


class Killed(BaseException):
    """The end of a process, as far as a test can have it."""


class Mortal:
    """A transport that the operator dies in at its n-th write, before the server gets it or before the answer is there;
    what the test itself writes is not counted."""

    def __init__(self, transport: Any, dies_at: int, answered: bool) -> None:
        self.transport, self.left, self.answered = transport, dies_at, answered
        self.alive = False

    async def send(self, request: Request) -> Any:
        if not self.alive or request.method == "GET":
            return await self.transport.send(request)
        self.left -= 1
        if self.left != 0:
            return await self.transport.send(request)
        if self.answered:
            await self.transport.send(request)
        raise Killed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class Life:
    """A job whose operator dies once."""

    def __init__(self, training: Training, dies_at: int, answered: bool) -> None:
        self.training = training
        self.mortal = Mortal(training.client.transport, dies_at, answered)
        training.client.transport = self.mortal  # type: ignore[assignment]

    @property
    def died(self) -> bool:
        return self.mortal.left <= 0

    async def goes_on(self) -> None:
        """Until everything is settled, whoever dies meanwhile."""
        for _ in range(6):
            self.mortal.alive = True
            try:
                await self.training.reconcile()
            except Killed:
                self.training.restart_operator()
            self.mortal.alive = False


async def at_every_point(life: Callable[[int, bool], Awaitable[Life]], answered: bool, least: int) -> None:
    for dies_at in count(1):
        if not (await life(dies_at, answered)).died:
            assert dies_at > least, "the job was shorter than it should be"
            return


def created(training: Training) -> Counter[str]:
    """How many requests to create pods there were; those that the server refused included."""
    return Counter(path.rsplit("/", 1)[1] for method, path in training.writes if method == "POST")


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("answered", [False, True])
async def test_a_restart_is_counted_once_and_the_end_is_the_same(answered: bool, cached: bool) -> None:
    async def life(dies_at: int, answered: bool) -> Life:
        training = Training(a_march_job(restart_policy="ExitCode", cleanPodPolicy="All"), cached=cached)
        life = Life(training, dies_at, answered)
        await life.goes_on()
        await training.set("march-walker-0", phase="Failed", exit_code=137)
        await life.goes_on()
        await training.set(phase="Succeeded", exit_code=0)
        await life.goes_on()
        status = (await training.job()).status
        assert status.is_true("Succeeded")
        assert status.restarts["Walker"].count == 1
        assert created(training)["pods"] == 3
        assert await training.pods() == await training.services() == []
        return life

    await at_every_point(life, answered, least=12)


def a_pytorch_job() -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "pytorch", "image": "busybox"}]}}
    specs = {name: {"replicas": 1, "restartPolicy": "ExitCode", "template": template} for name in ("Master", "Worker")}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "march", "namespace": "default"},
        "spec": {"runPolicy": {"cleanPodPolicy": "None"}, "pytorchReplicaSpecs": specs},
    }


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("answered", [False, True])
async def test_a_pytorchjob_restarted_scaled_suspended_and_resumed_ends_the_same(answered: bool, cached: bool) -> None:
    async def life(dies_at: int, answered: bool) -> Life:
        training = Training(a_pytorch_job(), controller=PyTorchJobController, cached=cached)
        life = Life(training, dies_at, answered)
        await life.goes_on()
        await training.set(phase="Running")
        await life.goes_on()
        await training.evict("march-worker-0")
        await life.goes_on()
        await training.patch({"pytorchReplicaSpecs": {"Worker": {"replicas": 3}}})
        await life.goes_on()
        assert len(await training.pods()) == 4
        await training.patch({"pytorchReplicaSpecs": {"Worker": {"replicas": 2}}})
        await life.goes_on()
        assert len(await training.pods()) == 3
        await training.patch({"runPolicy": {"suspend": True}})
        await life.goes_on()
        assert await training.pods() == await training.services() == []
        assert (await training.conditions())[-1] == "Suspended"
        await training.patch({"runPolicy": {"suspend": False}})
        await life.goes_on()
        await training.set("march-master-0", phase="Succeeded", exit_code=0)
        await life.goes_on()
        status = (await training.job()).status
        assert await training.conditions() == ["Created", "Running=False", "Suspended=False", "Succeeded"]
        assert status.restarts["Worker"].count == 1
        assert created(training)["pods"] == 2 + 1 + 2 + 3
        return life

    await at_every_point(life, answered, least=30)


async def test_a_job_replaced_in_the_middle_of_a_reconcile_gets_nothing_of_its_predecessor() -> None:
    training = Training(a_march_job())
    former = await training.job()
    await training.client.delete(MarchJob, "march", "default")
    await training.client.create(MarchJob, a_march_job(), "default")
    with pytest.raises(Invalid, match="uid"):
        await training.controller.reconcile_job(former)
    assert await training.conditions() == []
