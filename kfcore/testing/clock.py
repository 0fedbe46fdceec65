"""A clock that only a test moves: timers fire in order, and tasks run to rest, when the test advances it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

START = datetime(2024, 1, 1, tzinfo=UTC)
_SETTLE_ROUNDS = 1000


class FakeTimer:
    __slots__ = ("callback", "cancelled", "due")

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """Implements `kfcore.clock.Clock`. Starts at `start` (timezone-aware) and stands still."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    def call_later(self, seconds: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self._elapsed + max(seconds, 0.0), callback)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        timer = self.call_later(seconds, wake)
        try:
            await woken
        finally:
            timer.cancel()

    @asynccontextmanager
    async def timeout(self, seconds: float | None) -> AsyncIterator[object]:
        """Raises TimeoutError in the block when the clock is advanced past `seconds` before it ends."""
        task = asyncio.current_task()
        assert task is not None
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            task.cancel()

        timer = self.call_later(seconds, expire) if seconds is not None else None
        try:
            yield timer
        except asyncio.CancelledError:
            if expired and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            if timer is not None:
                timer.cancel()

    # ── for the test ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass: timers fire at their times, in order, and after each its tasks run to rest."""
        target = self._elapsed + seconds
        await settle()
        while (timer := self._next()) is not None and timer.due <= target:
            self._fire(timer)
            await settle()
        self._elapsed = max(self._elapsed, target)
        await settle()

    async def jump(self) -> float:
        """Advance to the next timer and fire it; returns the seconds that passed (0 when no timer waits)."""
        await settle()
        timer = self._next()
        if timer is None:
            return 0.0
        before = self._elapsed
        self._fire(timer)
        await settle()
        return self._elapsed - before

    def _next(self) -> FakeTimer | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][2] if self._timers else None

    def _fire(self, timer: FakeTimer) -> None:
        heapq.heappop(self._timers)
        self._elapsed = max(self._elapsed, timer.due)
        timer.callback()


async def settle() -> None:
    """Run the event loop until no task is ready to go on without time passing or input arriving."""
    loop = asyncio.get_running_loop()
    ready = getattr(loop, "_ready", None)
    if ready is None:  # another loop than asyncio's own: give the tasks a fixed number of turns
        for _ in range(50):
            await asyncio.sleep(0)
        return
    for _ in range(_SETTLE_ROUNDS):
        await asyncio.sleep(0)
        if not ready:
            return
