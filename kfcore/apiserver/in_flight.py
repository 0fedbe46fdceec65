"""How many requests are served at once: beyond that they are turned away with 429, and when to come back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kfcore.client.errors import StatusDetails, TooManyRequests

READS, WRITES = 400, 200
"""At once, as kube-apiserver has it unless told otherwise."""

RETRY_AFTER = 1
_LASTING = frozenset({"log", "exec", "attach", "portforward", "proxy"})


class InFlight:
    """Counts requests. Watches and other conversations, which last, are not among them."""

    def __init__(self, reads: int = READS, writes: int = WRITES) -> None:
        self._limits = {False: reads, True: writes}
        self._now = {False: 0, True: 0}

    @contextmanager
    def request(self, method: str, path: str, query: str) -> Iterator[None]:
        """Holds a place while the block runs. Raises TooManyRequests when there is none."""
        if "watch=" in query or path.rpartition("/")[2] in _LASTING:
            yield
            return
        writes = method not in ("GET", "HEAD", "OPTIONS")
        if self._now[writes] >= self._limits[writes]:
            raise TooManyRequests(
                "Too many requests, please try again later.", details=StatusDetails(retry_after_seconds=RETRY_AFTER)
            )
        self._now[writes] += 1
        try:
            yield
        finally:
            self._now[writes] -= 1
