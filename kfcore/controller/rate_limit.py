"""How fast something may happen: a growing delay per key that fails, and a token bucket. Both only compute."""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import Generic, TypeVar

from kfcore.clock import Clock

K = TypeVar("K", bound=Hashable)


class ExponentialBackoff(Generic[K]):
    """`base · 2ⁿ` seconds after the nth failure of a key, at most `limit`."""

    def __init__(self, base: float = 0.005, limit: float = 1000.0) -> None:
        self._base = base
        self._limit = limit
        self._failures: dict[K, int] = {}

    def next_delay(self, key: K) -> float:
        """Seconds to wait after one more failure of `key`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return min(self._base * 2.0 ** min(failures, 64), self._limit)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        self._failures.pop(key, None)


class TokenBucket:
    """`burst` at once, then `rate` a second."""

    def __init__(self, clock: Clock, rate: float, burst: int) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at = clock.monotonic()

    def take(self) -> bool:
        """One token, if there is one now."""
        if self.left < 1:
            return False
        self._tokens -= 1
        return True

    @property
    def left(self) -> float:
        """How many tokens there are now."""
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return self._tokens

    def wait(self) -> float:
        """Seconds until there is a token; 0 when there is one."""
        return max(0.0, (1 - self.left) / self._rate)


def jittered(seconds: float, factor: float = 0.2) -> float:
    """`seconds`, up to `factor` longer, so that many waiters do not wake together."""
    return seconds * (1 + factor * random.random())
