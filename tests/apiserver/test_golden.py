"""Steps recorded from kube-apiserver 1.36, played in process and over HTTP: the answers must agree.

`tests/golden/conformance.py` plays them, and lists the few answers that we do not imitate.
"""

from __future__ import annotations

import asyncio

import conformance
import pytest

from kfcore.apiserver.server import ApiServer
from kfcore.client.rest import RestClient
from kfcore.controller.manager import Manager
from kfcore.testing import FakeClock, settle
from kfcore.testing.transport import InProcessTransport
from kfcore_local.workloads import add_workload_controllers


async def differences(name: str) -> dict[int, list[str]]:
    """Play a recording to a server that has the workload controllers, as a cluster without nodes has them."""
    clock = FakeClock()
    server = ApiServer(clock=clock, seed=1)
    manager = Manager(RestClient(InProcessTransport(server)), clock=clock)
    add_workload_controllers(manager)
    running = asyncio.create_task(manager.run())
    await settle()
    try:
        return await conformance.Player(name, conformance.InProcess(server, clock)).play()
    finally:
        manager.stop()
        await settle()
        running.cancel()
        await asyncio.wait([running])
        await server.close()


@pytest.mark.parametrize("name", conformance.names())
async def test_the_answers_agree_with_the_recorded_ones(name: str) -> None:
    found = await differences(name)
    player = conformance.Player(name, None)  # type: ignore[arg-type]
    excepted = {number for scenario, number in conformance.EXCEPTIONS if scenario == name}
    report = "\n".join(conformance.describe(player, number, lines) for number, lines in found.items())
    assert set(found) <= excepted, report
    assert excepted <= set(found), f"these steps agree now, take them off EXCEPTIONS: {sorted(excepted - set(found))}"


def test_at_most_five_answers_are_not_imitated() -> None:
    assert len(conformance.EXCEPTIONS) <= 5


@pytest.mark.slow
async def test_the_answers_agree_over_http(capsys: pytest.CaptureFixture[str]) -> None:
    assert await conformance.play_over_http() == 0, capsys.readouterr().out
