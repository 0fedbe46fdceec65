"""The promises of the work queue, by a clock that the test owns."""

import asyncio

import pytest

from kfcore.controller.rate_limit import ExponentialBackoff, TokenBucket
from kfcore.controller.workqueue import Priority, QueueShutDown, WorkQueue
from kfcore.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def take(queue: WorkQueue[str]) -> str:
    return await asyncio.wait_for(queue.get(), 60)


async def drain(queue: WorkQueue[str]) -> list[str]:
    keys = []
    while len(queue):
        keys.append(key := await take(queue))
        queue.done(key)
    return keys


async def test_a_key_added_twice_is_handed_out_once(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert await drain(queue) == ["a", "b"]


async def test_a_key_added_while_in_work_comes_back_when_it_is_done(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("a")
    assert await take(queue) == "a"
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0, "no second worker may have it"
    queue.done("a")
    assert await drain(queue) == ["a"]


async def test_a_waiting_worker_gets_the_key_as_soon_as_it_is_added(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock)
    getter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert await asyncio.wait_for(getter, 60) == "a"


async def test_a_worker_that_is_cancelled_on_waking_leaves_the_key_to_the_next(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock)
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 60) == "a"


async def test_of_several_delayed_adds_the_earliest_counts(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add_after("a", 10)
    queue.add_after("a", 5)
    queue.add_after("a", 60)
    await clock.advance(4.9)
    assert len(queue) == 0
    await clock.advance(0.2)
    assert await drain(queue) == ["a"]
    await clock.advance(100)
    assert len(queue) == 0


async def test_an_immediate_add_replaces_the_delayed_one(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add_after("a", 10)
    queue.add("a")
    assert await drain(queue) == ["a"]
    await clock.advance(20)
    assert len(queue) == 0


async def test_failures_wait_longer_each_time_until_forgotten(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock)
    for expected in (0.005, 0.01, 0.02, 0.04):
        queue.add_rate_limited("a")
        await clock.advance(expected * 0.9)
        assert len(queue) == 0
        await clock.advance(expected * 0.2)
        assert await drain(queue) == ["a"]
    queue.forget("a")
    queue.add_rate_limited("a")
    await clock.advance(0.006)
    assert await drain(queue) == ["a"]


def test_the_delay_after_failures_has_a_limit() -> None:
    backoff: ExponentialBackoff[str] = ExponentialBackoff()
    delays = [backoff.next_delay("a") for _ in range(100)]
    assert delays[0] == 0.005
    assert delays[-1] == 1000


async def test_fresh_changes_go_before_replay_which_is_not_starved(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("old", Priority.LOW)
    for number in range(40):
        queue.add(f"new-{number}")
    order = await drain(queue)
    assert order[0] == "new-0"
    assert order.index("old") == WorkQueue.PATIENCE


async def test_a_change_to_a_key_in_replay_moves_it_to_the_front(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock)
    for key in ("a", "b", "c"):
        queue.add(key, Priority.LOW)
    queue.add("c")
    assert len(queue) == 3
    assert await drain(queue) == ["c", "a", "b"]


async def test_namespaces_take_turns(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock, group_of=lambda key: key.split("/")[0])
    for number in range(100):
        queue.add(f"busy/{number}")
    queue.add("quiet/0")
    assert (await drain(queue)).index("quiet/0") == 1


async def test_shutting_down_hands_out_what_is_ready_and_drops_what_is_delayed(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("a")
    queue.add_after("b", 1)
    queue.shut_down()
    queue.add("c")
    assert await take(queue) == "a"
    with pytest.raises(QueueShutDown):
        await take(queue)
    drained = asyncio.create_task(queue.drained())
    await asyncio.sleep(0)
    assert not drained.done()
    queue.done("a")
    await asyncio.wait_for(drained, 60)


async def test_waiting_workers_are_sent_home_at_shut_down(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock)
    getter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.shut_down()
    with pytest.raises(QueueShutDown):
        await getter


async def test_the_queue_measures_how_long_keys_wait_and_are_worked_on(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("a")
    await clock.advance(3)
    await take(queue)
    await clock.advance(4)
    assert queue.unfinished_seconds() == (4, 4)
    queue.done("a")
    assert (queue.queue_seconds.sum, queue.work_seconds.sum) == (3, 4)


async def test_a_token_bucket_allows_a_burst_and_then_its_rate(clock: FakeClock) -> None:
    bucket = TokenBucket(clock, rate=0.5, burst=2)
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    await clock.advance(2)
    assert [bucket.take() for _ in range(2)] == [True, False]
