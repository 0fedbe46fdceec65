"""Which keys to reconcile: comes in from handlers and from finished reconciles, goes out to workers, one worker a key.

A key that waits is held once however often it is added; one added while a worker has it comes back when the worker is
done. Fresh changes go before start-up replay and resync, and namespaces take turns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from enum import IntEnum
from typing import Generic, TypeVar

from kfcore.clock import Clock, SystemClock, Timer
from kfcore.controller.histogram import Histogram
from kfcore.controller.rate_limit import ExponentialBackoff

K = TypeVar("K", bound=Hashable)


class Priority(IntEnum):
    """LOW is for replaying what exists, so that it cannot hold up what changes."""

    LOW = 0
    NORMAL = 1


class QueueShutDown(Exception):
    """The queue is closed and empty: the worker can go home."""


class WorkQueue(Generic[K]):
    """Keys to work on.

    `group_of` gives the group of a key between which `get` takes turns (a request's namespace). `backoff` gives the
    delay of `add_rate_limited`. Not thread-safe: it belongs to one event loop.
    """

    # After this many keys of normal priority in a row, one of low priority gets its turn.
    PATIENCE = 16

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        group_of: Callable[[K], Hashable] = lambda key: None,
        backoff: ExponentialBackoff[K] | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._now = self._clock.monotonic
        self._backoff = backoff or ExponentialBackoff()
        self._ready = (_TurnTaking(group_of), _TurnTaking(group_of))
        self._waiting: dict[K, tuple[Priority, float]] = {}
        self._working: dict[K, float] = {}
        self._dirty: dict[K, Priority] = {}
        self._delayed: dict[K, tuple[float, Timer, Priority]] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._normal_in_a_row = 0
        self._shut_down = False
        self._idle: asyncio.Event | None = None
        self.adds = 0
        self.retries = 0
        self.queue_seconds = Histogram.of_seconds()
        self.work_seconds = Histogram.of_seconds()

    def __len__(self) -> int:
        """How many keys are ready for a worker."""
        return len(self._waiting)

    def add(self, key: K, priority: Priority = Priority.NORMAL) -> None:
        """Have `key` worked on as soon as a worker is free. Replaces a delayed add of it."""
        if self._shut_down:
            return
        if self._delayed and (delayed := self._delayed.pop(key, None)):
            delayed[1].cancel()
        if key in self._working:
            if key not in self._dirty:
                self.adds += 1
            self._dirty[key] = max(priority, self._dirty.get(key, priority))
        elif (waiting := self._waiting.get(key)) is None:
            self.adds += 1
            self._make_ready(key, priority, self._now())
        elif priority > waiting[0]:
            # Its place in the other queue is found stale, and skipped, when its turn comes.
            self._make_ready(key, priority, waiting[1])

    def add_after(self, key: K, seconds: float, priority: Priority = Priority.NORMAL) -> None:
        """Add `key` in `seconds`. Of several such adds the earliest counts; a key that is ready already stays so."""
        if seconds <= 0:
            self.add(key, priority)
            return
        if self._shut_down or key in self._waiting:
            return
        due = self._now() + seconds
        if existing := self._delayed.get(key):
            if existing[0] <= due:
                return
            existing[1].cancel()
        self._delayed[key] = (due, self._clock.call_later(seconds, lambda: self._fire(key)), priority)

    def add_rate_limited(self, key: K, priority: Priority = Priority.NORMAL, *, at_least: float = 0.0) -> None:
        """Add `key` after a delay that grows each time, until `forget`, and is `at_least` so many seconds."""
        self.retries += 1
        self.add_after(key, max(self._backoff.next_delay(key), at_least), priority)

    def forget(self, key: K) -> None:
        """`key` went well: its next failure starts with the shortest delay."""
        self._backoff.forget(key)

    def failures(self, key: K) -> int:
        """How often in a row `key` was added rate limited."""
        return self._backoff.failures(key)

    async def get(self) -> K:
        """The next key, as soon as there is one; `done` gives it back. Raises `QueueShutDown` at the end."""
        while True:
            if self._waiting:
                return self._take()
            if self._shut_down:
                raise QueueShutDown
            getter = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()  # this call was to take a key; another has to
                raise

    def done(self, key: K) -> None:
        """The worker has finished with `key`; if it was added meanwhile, it is ready again."""
        started = self._working.pop(key, None)
        if started is None:
            return
        now = self._now()
        self.work_seconds.observe(now - started)
        if (priority := self._dirty.pop(key, None)) is not None:
            self._make_ready(key, priority, now)
        if self._idle and not self._working:
            self._idle.set()

    def shut_down(self) -> None:
        """Take no more keys and drop the delayed ones; `get` hands out what is ready, then raises `QueueShutDown`."""
        self._shut_down = True
        for _, timer, _ in self._delayed.values():
            timer.cancel()
        self._delayed.clear()
        for getter in self._getters:
            if not getter.done():
                getter.set_result(None)
        self._getters.clear()

    async def drained(self) -> None:
        """Wait until no worker has a key."""
        if self._working:
            self._idle = asyncio.Event()
            await self._idle.wait()

    def unfinished_seconds(self) -> tuple[float, float]:
        """How long the keys in work have been there: the sum and the longest, in seconds."""
        now = self._now()
        ages = [now - started for started in self._working.values()]
        return sum(ages), max(ages, default=0.0)

    def _make_ready(self, key: K, priority: Priority, since: float) -> None:
        self._waiting[key] = (priority, since)
        self._ready[priority].append(key)
        if self._getters:
            self._wake()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _fire(self, key: K) -> None:
        if delayed := self._delayed.pop(key, None):
            self.add(key, delayed[2])

    def _take(self) -> K:
        low, normal = self._ready
        while True:
            if normal and not (low and self._normal_in_a_row >= self.PATIENCE):
                priority, key = Priority.NORMAL, normal.pop()
                self._normal_in_a_row += 1
            else:
                priority, key = Priority.LOW, low.pop()
                self._normal_in_a_row = 0
            waiting = self._waiting.get(key)
            if waiting is not None and waiting[0] is priority:
                break
        del self._waiting[key]
        now = self._working[key] = self._now()
        self.queue_seconds.observe(now - waiting[1])
        return key


class _TurnTaking(Generic[K]):
    """First in, first out within a group; the groups take turns."""

    __slots__ = ("_group_of", "_groups", "_turns")

    def __init__(self, group_of: Callable[[K], Hashable]) -> None:
        self._group_of = group_of
        self._groups: dict[Hashable, deque[K]] = {}
        self._turns: deque[deque[K]] = deque()

    def __bool__(self) -> bool:
        return bool(self._turns)

    def append(self, key: K) -> None:
        group = self._group_of(key)
        keys = self._groups.get(group)
        if keys is None:
            keys = self._groups[group] = deque()
        if not keys:
            self._turns.append(keys)
        keys.append(key)

    def pop(self) -> K:
        keys = self._turns.popleft()
        key = keys.popleft()
        if keys:
            self._turns.append(keys)
        else:
            del self._groups[self._group_of(key)]
        return key
