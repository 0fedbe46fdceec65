"""What the server makes up for a request (uids, generated names, addresses, times), kept while the request is tried
again: a webhook that was asked about an object is to find that very object stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Draws:
    """One for a server. Without `repeating` it is `idle`, and keeps nothing."""

    def __init__(self) -> None:
        self.idle = True
        self._kept: list[object] = []
        self._position = 0

    def draw(self, make: Callable[[], T]) -> T:
        """What was drawn at this place of an earlier try, or what `make` makes."""
        if self.idle:
            return make()
        if self._position == len(self._kept):
            self._kept.append(make())
        value = self._kept[self._position]
        self._position += 1
        return value  # type: ignore[return-value]  # the same steps draw the same kinds of values

    @contextmanager
    def repeating(self, kept: list[object]) -> Iterator[None]:
        """Draw from `kept`, the values of earlier tries, and put there what comes new. Nothing else may run within."""
        self.idle, self._kept, self._position = False, kept, 0
        try:
            yield
        finally:
            self.idle = True
