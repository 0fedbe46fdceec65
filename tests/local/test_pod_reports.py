"""What the kubelet tells of a pod: only of that one, however late it hears of its end."""

from __future__ import annotations

import asyncio

from one_machine import POD, a_container, a_pod

from kfcore.testing import FakeClient, FakeClock
from kfcore_local.pod_reports import PodReports
from kfcore_local.pods import LocalPod


async def test_the_status_of_a_pod_that_was_replaced_is_not_taken_for_that_of_the_new_one() -> None:
    clock = FakeClock()
    client = FakeClient(clock=clock)
    await client.create(POD, a_pod("p", a_container("true")))
    first = await client.get(LocalPod, "p", "default")
    gone = asyncio.Event()
    reports = PodReports(client, clock, first, gone)
    await reports.write(lambda: {"phase": "Running"})
    await client.delete(POD, "p", "default", grace_period_seconds=0)
    await client.create(POD, a_pod("p", a_container("true")))
    await reports.write(lambda: {"phase": "Succeeded"})
    assert gone.is_set()
    assert (await client.get(POD, "p", "default")).raw["status"]["phase"] == "Pending"
