"""A `Transport` around another that holds back requests beyond a rate: off by default, for servers that need it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import msgspec

from kfcore.client.transport import Request, Response, Transport
from kfcore.clock import Clock, SystemClock


class Throttle(msgspec.Struct, frozen=True):
    """`burst` requests at once, then `rate` a second."""

    rate: float
    burst: int = 1

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.burst < 1:
            raise ValueError(f"{self}: expected a rate above 0 requests per second and a burst of at least 1")


LEASES = "/apis/coordination.k8s.io/"
"""What must not wait behind others: a lease that is renewed too late is lost."""


class ThrottledTransport:
    """Lets requests through in the order in which they came, and those for leases at once."""

    def __init__(self, transport: Transport, throttle: Throttle, *, clock: Clock | None = None) -> None:
        self._transport = transport
        self._clock = clock or SystemClock()
        self._interval = 1 / throttle.rate
        self._slack = (throttle.burst - 1) * self._interval
        self._next = self._clock.monotonic() - self._slack

    @property
    def request_counts(self) -> Counter[tuple[str, str, str]]:
        """The wrapped transport's counts of answers, by (code, method, host)."""
        counts = getattr(self._transport, "request_counts", None)
        return counts if isinstance(counts, Counter) else Counter()

    async def send(self, request: Request) -> Response:
        if request.path.startswith(LEASES):
            return await self._transport.send(request)
        now = self._clock.monotonic()
        turn = max(self._next, now - self._slack)
        self._next = turn + self._interval
        if turn > now:
            await self._clock.sleep(turn - now)
        return await self._transport.send(request)

    def stream(self, request: Request) -> AbstractAsyncContextManager[tuple[Response, AsyncIterator[bytes]]]:
        """Not held back: an informer opens few, and its own back-off spaces them."""
        return self._transport.stream(request)

    async def close(self) -> None:
        await self._transport.close()
