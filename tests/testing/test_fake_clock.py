"""The clock that a test moves."""

from __future__ import annotations

import asyncio

import pytest

from kfcore.testing import FakeClock


async def test_time_stands_still_until_the_test_advances_it() -> None:
    clock = FakeClock()
    before = clock.now()
    await asyncio.sleep(0)
    assert clock.now() == before
    await clock.advance(90)
    assert (clock.now() - before).total_seconds() == 90
    assert clock.monotonic() == 90


async def test_timers_fire_in_order_at_their_own_times() -> None:
    clock = FakeClock()
    fired: list[tuple[str, float]] = []
    clock.call_later(5, lambda: fired.append(("late", clock.monotonic())))
    clock.call_later(1, lambda: fired.append(("early", clock.monotonic())))
    await clock.advance(10)
    assert fired == [("early", 1), ("late", 5)]


async def test_a_timer_that_a_timer_sets_fires_in_the_same_advance() -> None:
    clock = FakeClock()
    fired: list[float] = []
    clock.call_later(1, lambda: clock.call_later(1, lambda: fired.append(clock.monotonic())) and None)
    await clock.advance(3)
    assert fired == [2]


async def test_a_cancelled_timer_does_not_fire() -> None:
    clock = FakeClock()
    fired: list[str] = []
    clock.call_later(1, lambda: fired.append("x")).cancel()
    await clock.advance(2)
    assert fired == []


async def test_sleepers_wake_and_run_to_rest() -> None:
    clock = FakeClock()
    steps: list[float] = []

    async def work() -> None:
        for _ in range(3):
            await clock.sleep(10)
            await asyncio.sleep(0)
            steps.append(clock.monotonic())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work())
        await clock.advance(30)
        assert steps == [10, 20, 30]


async def test_jump_goes_to_the_next_timer() -> None:
    clock = FakeClock()
    clock.call_later(42, lambda: None)
    assert await clock.jump() == 42
    assert await clock.jump() == 0


async def test_a_block_that_takes_too_long_times_out() -> None:
    clock = FakeClock()

    async def wait() -> None:
        async with clock.timeout(5):
            await clock.sleep(60)

    task = asyncio.create_task(wait())
    await clock.advance(5)
    with pytest.raises(TimeoutError):
        await task


async def test_a_block_that_ends_in_time_does_not_time_out() -> None:
    clock = FakeClock()
    async with clock.timeout(5):
        pass
    await clock.advance(10)
