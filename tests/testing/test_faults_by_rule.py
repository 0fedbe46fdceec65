"""What a test asks to go wrong goes wrong so, so often, and then no more."""

import asyncio
from contextlib import aclosing
from typing import Any, cast

import pytest

from kfcore.api.core import Pod
from kfcore.api.meta import untyped
from kfcore.client.errors import Conflict, ConnectionFailed, InternalError
from kfcore.client.transport import Response
from kfcore.testing import FakeClient, FakeClock

AnyPod = untyped(Pod.resource)


def a_pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "none"}]}}


@pytest.fixture
async def user(fake_client: FakeClient) -> FakeClient:
    """Another connection to the server of `fake_client`, on which nothing goes wrong."""
    return FakeClient(clock=fake_client.clock, server=fake_client.server)  # type: ignore[arg-type]


class Watching:
    """What a watch of pods has shown so far, and how it ended."""

    def __init__(self, client: FakeClient) -> None:
        self.seen: list[str] = []
        self.ended: str | None = None
        self.task = asyncio.create_task(self._watch(client))

    async def _watch(self, client: FakeClient) -> None:
        try:
            async with aclosing(cast("Any", client.watch(Pod, resource_version="0"))) as events:
                async for event in events:
                    if event.type != "BOOKMARK":
                        self.seen.append(event.object.name)
            self.ended = "in good order"
        except ConnectionFailed as error:
            self.ended = type(error).__name__


async def test_a_call_fails_as_often_as_was_asked(fake_client: FakeClient) -> None:
    pod = await fake_client.create(AnyPod, a_pod("a"))
    rule = fake_client.faults.fail("update", Pod, Conflict("changed meanwhile"), times=2)
    for _ in range(2):
        with pytest.raises(Conflict, match="changed meanwhile"):
            await fake_client.update(pod)
    await fake_client.update(pod)
    assert rule.hits == 2


async def test_a_rule_is_for_its_verb_kind_and_name_alone(fake_client: FakeClient) -> None:
    fake_client.faults.fail("create", Pod, InternalError("no"), name="a", times=None)
    fake_client.faults.fail("get", Pod, InternalError("no"), name="a", times=None)
    await fake_client.create(Pod, a_pod("a"))  # the name of what is created is in no path
    await fake_client.create(Pod, a_pod("b"))
    await fake_client.get(Pod, "b")
    with pytest.raises(InternalError):
        await fake_client.get(Pod, "a")


async def test_an_answer_is_lost_though_the_call_was_carried_out(fake_client: FakeClient, user: FakeClient) -> None:
    fake_client.faults.fail("create", Pod, carried_out=True)
    with pytest.raises(ConnectionFailed):
        await fake_client.create(Pod, a_pod("a"))
    assert [pod.name for pod in await user.list(Pod)] == ["a"]


async def test_a_raw_answer_is_given_as_it_is(fake_client: FakeClient) -> None:
    fake_client.faults.fail("list", Pod, Response(200, b"<html>Bad gateway</html>"))
    with pytest.raises(ConnectionFailed, match="Bad gateway"):
        await fake_client.list(Pod)


async def test_an_answer_takes_so_long_though_the_call_was_carried_out_at_once(
    fake_client: FakeClient, user: FakeClient, fake_clock: FakeClock
) -> None:
    fake_client.faults.delay("create", Pod, seconds=20)
    creating = asyncio.create_task(fake_client.create(Pod, a_pod("a")))
    await fake_clock.advance(19)
    assert (creating.done(), [pod.name for pod in await user.list(Pod)]) == (False, ["a"])
    await fake_clock.advance(1)
    assert (await creating).name == "a"


async def test_a_watch_breaks_after_three_events(
    fake_client: FakeClient, user: FakeClient, fake_clock: FakeClock
) -> None:
    fake_client.faults.break_watch(Pod, after=3)
    fake_client.faults.end_watch(Pod, after=1)
    for number in range(5):
        await user.create(Pod, a_pod(f"pod-{number}"))
    first = Watching(fake_client)
    await fake_clock.advance(1)
    assert (len(first.seen), first.ended) == (3, "ConnectionFailed")
    second = Watching(fake_client)
    await fake_clock.advance(1)
    assert (len(second.seen), second.ended) == (1, "in good order")
    third = Watching(fake_client)
    await fake_clock.advance(1)
    assert (len(third.seen), third.ended) == (5, None)
    third.task.cancel()


async def test_a_watch_lags_by_so_many_events_until_the_rule_is_stopped(
    fake_client: FakeClient, user: FakeClient, fake_clock: FakeClock
) -> None:
    rule = fake_client.faults.lag(Pod, events=2)
    watching = Watching(fake_client)
    for number in range(5):
        await user.create(Pod, a_pod(f"pod-{number}"))
        await fake_clock.advance(1)
        assert len(watching.seen) == max(0, number - 1)
    rule.stop()
    await user.create(Pod, a_pod("last"))
    await fake_clock.advance(1)
    assert len(watching.seen) == 6
    watching.task.cancel()


async def test_a_watch_lags_by_so_many_seconds(
    fake_client: FakeClient, user: FakeClient, fake_clock: FakeClock
) -> None:
    fake_client.faults.lag(Pod, seconds=1)
    watching = Watching(fake_client)
    await fake_clock.advance(0)
    await user.create(Pod, a_pod("a"))
    await fake_clock.advance(0.9)
    assert watching.seen == []
    await fake_clock.advance(0.1)
    assert watching.seen == ["a"]
    watching.task.cancel()


async def test_a_watch_that_stalls_says_nothing_and_does_not_end(
    fake_client: FakeClient, user: FakeClient, fake_clock: FakeClock
) -> None:
    watching = Watching(fake_client)
    await fake_clock.advance(0)
    fake_client.faults.stall()
    await user.create(Pod, a_pod("a"))
    await fake_clock.advance(600)
    assert (watching.seen, watching.ended) == ([], None)
    fake_client.faults.cut()
    await fake_clock.advance(0)
    assert watching.ended == "ConnectionFailed"


def test_a_rule_that_could_never_hold_is_refused(fake_client: FakeClient) -> None:
    with pytest.raises(ValueError, match="at least once"):
        fake_client.faults.fail("get", times=0)
    with pytest.raises(ValueError, match="above 0"):
        fake_client.faults.lag(Pod)
    with pytest.raises(ValueError, match="more than 0"):
        fake_client.faults.delay("get", seconds=0)
