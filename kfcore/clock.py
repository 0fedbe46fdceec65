"""Time as a dependency: queues, back-off, deadlines and leases ask a `Clock`, so that a test can own it.

`SystemClock` is the real one; `kfcore.testing.FakeClock` moves only when a test says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Protocol


class Timer(Protocol):
    """A pending call, as `Clock.call_later` returns it."""

    def cancel(self) -> None:
        """Forget the call; does nothing once it has run."""


class Clock(Protocol):
    """Where kfcore gets the time from."""

    def now(self) -> datetime:
        """The wall-clock time, timezone-aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` on the running event loop after `seconds`."""

    async def sleep(self, seconds: float) -> None:
        """Suspend the calling task for `seconds`."""

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        """A block that raises `TimeoutError` when it takes longer than `seconds` (None: never)."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)
