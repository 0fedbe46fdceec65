"""What a user of `kubectl describe` sees, and what a flood leaves of it."""

import asyncio

import pytest

from kfcore.api.core import Event, Pod
from kfcore.api.meta import ObjectMeta
from kfcore.client.errors import InternalError
from kfcore.controller.events import EventRecorder
from kfcore.testing import FakeClient, FakeClock, settle


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def client(clock: FakeClock) -> FakeClient:
    return FakeClient(clock=clock)


@pytest.fixture
def recorder(client: FakeClient, clock: FakeClock) -> EventRecorder:
    return EventRecorder(client, "echo-controller", clock)


def a_pod(name: str = "echo", namespace: str = "default") -> Pod:
    return Pod(metadata=ObjectMeta(name=name, namespace=namespace, uid=f"uid-of-{name}"))


async def test_an_event_names_its_object_and_who_says_so(client: FakeClient, recorder: EventRecorder) -> None:
    recorder.warning(a_pod(), "Failed", "it did not work")
    await recorder.flush()
    [event] = await client.list(Event)
    assert (event.type, event.reason, event.message, event.count) == ("Warning", "Failed", "it did not work", 1)
    assert (event.involved_object.kind, event.involved_object.uid) == ("Pod", "uid-of-echo")
    assert event.source.component == "echo-controller"


async def test_the_same_event_again_counts_up_with_one_request(
    client: FakeClient, recorder: EventRecorder, clock: FakeClock
) -> None:
    recorder.normal(a_pod(), "Created", "made it")
    await recorder.flush()
    await clock.advance(60)
    for _ in range(5):
        recorder.normal(a_pod(), "Created", "made it")
    await recorder.flush()
    [event] = await client.list(Event)
    assert event.count == 6
    assert event.first_timestamp is not None
    assert event.last_timestamp is not None
    assert (event.last_timestamp - event.first_timestamp).total_seconds() == 60
    assert [method for method, path in client.requests if "events" in path and method != "GET"] == ["POST", "PATCH"]


async def test_many_messages_of_one_reason_become_one_combined_event(
    client: FakeClient, recorder: EventRecorder
) -> None:
    for number in range(15):
        recorder.normal(a_pod(), "Scaling", f"to {number}")
    await recorder.flush()
    events = await client.list(Event)
    combined = [event for event in events if event.message.startswith("(combined from similar events)")]
    assert len(events) == 11
    assert [event.count for event in combined] == [5]


async def test_one_object_cannot_flood_the_server_and_others_are_not_affected(
    client: FakeClient, recorder: EventRecorder, clock: FakeClock
) -> None:
    for number in range(100):
        recorder.normal(a_pod(), f"Reason{number}", "again")
    recorder.normal(a_pod("other"), "Created", "made it")
    await recorder.flush()
    assert len(await client.list(Event)) == 26
    assert recorder.thinned_out == 75
    await clock.advance(300)
    recorder.normal(a_pod(), "Later", "one more after five minutes")
    await recorder.flush()
    assert len(await client.list(Event)) == 27


async def test_in_a_burst_the_events_of_an_object_are_told_together_and_none_is_forgotten(
    client: FakeClient, recorder: EventRecorder
) -> None:
    for number in range(100):
        recorder.normal(a_pod(f"pod-{number}"), "Created", "made it")
        recorder.normal(a_pod(f"pod-{number}"), "Started", "started it")
    recorder.warning(a_pod("pod-7"), "Failed", "it did not work")
    await recorder.flush()
    events = await client.list(Event)
    assert len(events) < 160
    for number in range(100):
        told = [event.message for event in events if event.involved_object.name == f"pod-{number}"]
        assert "made it; started it" in told or {"made it", "started it"} <= set(told)
    assert "it did not work" in [event.message for event in events if event.type == "Warning"]
    recorder.normal(a_pod("pod-0"), "Created", "made it")
    await recorder.flush()
    assert len(await client.list(Event)) == len(events) + 1


async def test_a_burst_of_events_is_written_little_by_little_and_warnings_go_first(
    client: FakeClient, recorder: EventRecorder, clock: FakeClock
) -> None:
    for number in range(200):
        recorder.normal(a_pod(f"pod-{number}"), "Created", "made it")
    recorder.warning(a_pod("late"), "Failed", "it did not work")
    writing = asyncio.create_task(recorder.run())
    await settle()
    first = await client.list(Event)
    assert len(first) == 30
    assert "late" in [event.involved_object.name for event in first]
    await clock.advance(60)
    assert len(await client.list(Event)) == 201
    writing.cancel()


async def test_an_event_that_the_server_refuses_is_counted_and_nothing_is_raised(
    client: FakeClient, recorder: EventRecorder
) -> None:
    recorder.normal(a_pod(namespace="nowhere"), "Created", "made it")
    await recorder.flush()
    assert recorder.lost == 1


async def test_an_event_that_the_server_forgot_is_made_again(client: FakeClient, recorder: EventRecorder) -> None:
    recorder.normal(a_pod(), "Created", "made it")
    await recorder.flush()
    [event] = await client.list(Event)
    await client.delete(Event, event.name, event.namespace)
    recorder.normal(a_pod(), "Created", "made it")
    await recorder.flush()
    assert [event.count for event in await client.list(Event)] == [2]


@pytest.mark.parametrize("carried_out", [False, True], ids=["refused", "answer lost"])
async def test_an_event_whose_connection_broke_is_written_once(
    client: FakeClient, recorder: EventRecorder, clock: FakeClock, carried_out: bool
) -> None:
    client.faults.fail("create", Event, times=2, carried_out=carried_out)
    recorder.warning(a_pod(), "Failed", "it did not work")
    writing = asyncio.create_task(recorder.run())
    await clock.advance(10)
    assert [event.reason for event in await client.list(Event)] == ["Failed"]
    assert recorder.lost == 0
    writing.cancel()


async def test_an_event_that_was_being_written_at_the_stop_is_written_once(
    client: FakeClient, recorder: EventRecorder, clock: FakeClock
) -> None:
    client.faults.fail("create", Event, InternalError("oops"))
    client.faults.delay("create", Event, seconds=20)
    recorder.warning(a_pod(), "Failed", "it did not work")
    writing = asyncio.create_task(recorder.run())
    await clock.advance(1)
    writing.cancel()
    await settle()
    await recorder.flush()
    assert [event.reason for event in await client.list(Event)] == ["Failed"]
