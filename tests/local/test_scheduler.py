"""Which pods the scheduler binds, and what they and the node look like then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from kfcore.api.core import Event, Lease, Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.clock import SystemClock
from kfcore.testing.client import FakeClient
from kfcore.testing.clock import FakeClock
from kfcore_local.node import Node, keep_node
from kfcore_local.scheduler import Scheduler

POD = untyped(Pod.resource)


def a_pod(name: str, **spec: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "an-image"}], **spec},
    }


@pytest.fixture
async def client() -> AsyncIterator[FakeClient]:
    client = FakeClient(a_pod("early"), clock=SystemClock())
    task = asyncio.create_task(Scheduler(client, node_name="here").run())
    yield client
    task.cancel()
    await asyncio.wait([task])


async def node_of(client: FakeClient, name: str) -> str:
    """Once it has one."""
    events: Any = client.watch(POD, "default", resource_version="0")
    async with asyncio.timeout(5), aclosing(events):
        async for event in events:
            if event.object.name == name and (node := event.object.raw["spec"].get("nodeName")):
                return str(node)
    raise AssertionError("the watch ended")


async def test_pods_are_bound_whether_they_came_before_or_after(client: FakeClient) -> None:
    await client.create(POD, a_pod("late"))
    assert await node_of(client, "early") == "here"
    assert await node_of(client, "late") == "here"
    pod = (await client.get(POD, "late", "default")).raw
    scheduled = next(c for c in pod["status"]["conditions"] if c["type"] == "PodScheduled")
    assert scheduled["status"] == "True"


async def test_a_binding_is_told_as_an_event(client: FakeClient) -> None:
    await node_of(client, "early")
    events: Any = client.watch(Event, "default", resource_version="0")
    async with asyncio.timeout(5), aclosing(events):
        event = (await anext(events)).object
    assert (event.reason, event.message) == ("Scheduled", "Successfully assigned default/early to here")


async def test_other_schedulers_pods_are_left_alone(client: FakeClient) -> None:
    await client.create(POD, a_pod("theirs", schedulerName="volcano"))
    await client.create(POD, a_pod("ours"))
    await node_of(client, "ours")
    assert "nodeName" not in (await client.get(POD, "theirs", "default")).raw["spec"]


async def test_the_node_is_ready_and_renews_its_lease() -> None:
    clock = FakeClock()
    client = FakeClient(clock=clock)
    task = asyncio.create_task(keep_node(client, clock, "here", "127.0.0.1"))
    await clock.advance(0)
    node = await client.get(untyped(Node.resource), "here")
    ready = next(c for c in node.raw["status"]["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "True"
    first = (await client.get(Lease, "here", "kube-node-lease")).spec.renew_time
    await clock.advance(10)
    second = (await client.get(Lease, "here", "kube-node-lease")).spec.renew_time
    assert first is not None
    assert second is not None
    assert (second - first).total_seconds() == 10
    task.cancel()
