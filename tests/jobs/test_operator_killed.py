"""The operator dies before any one of its requests, and another takes over: nothing is done twice, or forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from training import Training, a_march_job

from kfcore.client.transport import Request


class Killed(BaseException):
    """The end of a process, as far as a test can have it."""


class Mortal:
    """A transport that the operator dies in before its n-th write; what the kubelet writes is not counted."""

    def __init__(self, transport: Any, dies_before: int) -> None:
        self.transport, self.left = transport, dies_before

    async def send(self, request: Request) -> Any:
        by_kubelet = "/pods/" in request.path and request.path.endswith("/status")
        if request.method != "GET" and not by_kubelet:
            self.left -= 1
            if self.left == 0:
                raise Killed
        return await self.transport.send(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


async def reconciled(training: Training) -> None:
    for _ in range(5):
        try:
            await training.reconcile()
        except Killed:
            training.restart_operator()


@pytest.mark.parametrize("dies_before", range(1, 16))
async def test_the_end_is_the_same_wherever_the_operator_was_killed(dies_before: int) -> None:
    training = Training(a_march_job(restart_policy="ExitCode", cleanPodPolicy="All"))
    mortal = Mortal(training.client.transport, dies_before)
    training.client.transport = mortal  # type: ignore[assignment]
    await reconciled(training)
    await training.set("march-walker-0", phase="Failed", exit_code=137)
    await reconciled(training)
    await training.set(phase="Succeeded", exit_code=0)
    await reconciled(training)
    assert mortal.left <= 0, "the operator has not died"
    status = (await training.job()).status
    assert status.is_true("Succeeded")
    assert status.restarts["Walker"].count == 1
    created = [path for method, path in training.writes if method == "POST" and path.endswith("/pods")]
    assert len(created) == 3
    assert await training.pods() == await training.services() == []
