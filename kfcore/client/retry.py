"""A `Transport` around another that tries again what may safely be tried again.

A refusal with 429 was not carried out, so any call is repeated when the server says. After a broken connection or a
server error only calls that may be carried out twice are. Everything has one deadline; then the last answer counts.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

from kfcore.client.errors import ConnectionFailed, NotConnected
from kfcore.client.interface import PatchType
from kfcore.client.transport import Request, Response, Transport
from kfcore.clock import Clock, SystemClock

SERVER_ERRORS = frozenset({500, 502, 503, 504})


class RetryPolicy(msgspec.Struct, frozen=True):
    """Waits `first_delay · 2ⁿ` seconds, at most `longest_delay`, shortened at random, until `deadline` has passed."""

    first_delay: float = 0.1
    longest_delay: float = 5.0
    deadline: float = 30.0
    attempts: int = 6


DEFAULT_POLICY = RetryPolicy()


class RetryingTransport:
    """`retry_counts` counts the further tries, by (code of the answer, or `<error>` for none, and method)."""

    def __init__(
        self, transport: Transport, *, clock: Clock | None = None, policy: RetryPolicy = DEFAULT_POLICY
    ) -> None:
        self._transport = transport
        self._clock = clock or SystemClock()
        self._policy = policy
        self.retry_counts: Counter[tuple[str, str]] = Counter()

    @property
    def request_counts(self) -> Counter[tuple[str, str, str]]:
        """The wrapped transport's counts of answers, by (code, method, host)."""
        counts = getattr(self._transport, "request_counts", None)
        return counts if isinstance(counts, Counter) else Counter()

    async def send(self, request: Request) -> Response:
        give_up_at = self._clock.monotonic() + self._policy.deadline
        attempt = 0
        while True:
            attempt += 1
            failure: ConnectionFailed | None = None
            response: Response | None = None
            try:
                response = await self._transport.send(request)
                if response.status < 400:
                    return response
            except ConnectionFailed as error:
                failure = error
            delay = self._delay(request, response, failure, attempt)
            if delay is None or attempt >= self._policy.attempts or self._clock.monotonic() + delay > give_up_at:
                if response is not None:
                    return response
                assert failure is not None
                raise failure
            self.retry_counts[str(response.status) if response else "<error>", request.method] += 1
            await self._clock.sleep(delay)

    def stream(self, request: Request) -> AbstractAsyncContextManager[tuple[Response, AsyncIterator[bytes]]]:
        """Not repeated: who reads a stream knows where to go on from."""
        return self._transport.stream(request)

    async def close(self) -> None:
        await self._transport.close()

    def _delay(
        self, request: Request, response: Response | None, failure: ConnectionFailed | None, attempt: int
    ) -> float | None:
        """Seconds until the next try, None for no further one."""
        policy = self._policy
        backoff = min(policy.first_delay * 2.0 ** (attempt - 1), policy.longest_delay) * random.uniform(0.5, 1.0)
        if response is None:
            return backoff if isinstance(failure, NotConnected) or is_idempotent(request) else None
        asked = _retry_after(response, self._clock)
        if response.status == 429 and not request.path.endswith("/eviction"):
            return backoff if asked is None else asked * random.uniform(1.0, 1.1)
        if response.status in SERVER_ERRORS and is_idempotent(request):
            return backoff if asked is None else asked * random.uniform(1.0, 1.1)
        return None


def is_idempotent(request: Request) -> bool:
    """Whether carrying the request out twice has the effect of once."""
    if request.method == "PATCH":
        return request.content_type != PatchType.JSON
    return request.method in ("GET", "HEAD", "PUT", "DELETE")


def _retry_after(response: Response, clock: Clock) -> float | None:
    """The header's seconds; it may also hold a date."""
    value = next((value for name, value in response.headers.items() if name.lower() == "retry-after"), None)
    if not value:
        return None
    if value.isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - clock.now()).total_seconds())
