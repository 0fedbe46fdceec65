"""Notices that something which ought to happen again and again no longer does: a watch that silently stalls."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from kfcore.clock import Clock, Timer


class Watchdog:
    """A block that raises `TimeoutError` once `feed` has not been called for `seconds` (up to twice that).

    Feeding sets a flag and no timer, so that it may be done for every event of a stream.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._fed = True
        self._barked = False
        self._timer: Timer | None = None
        self._task: asyncio.Task[object] | None = None

    def feed(self) -> None:
        self._fed = True

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        self._timer = self._clock.call_later(self._seconds, self._look)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer:
            self._timer.cancel()
        if self._barked and self._task and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError(f"nothing came for {self._seconds:g} seconds") from error

    def _look(self) -> None:
        if self._fed:
            self._fed = False
            self._timer = self._clock.call_later(self._seconds, self._look)
        elif self._task:
            self._barked = True
            self._task.cancel()
