"""What a recorder has still to write: Events by the object that they are about, warnings before all others.

While it is little, each stays an Event of its own. When more waits than may be written soon, the usual ones of an
object are told together, in one Event, so that a burst of work is described late and short, but described.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from datetime import datetime

import msgspec

from kfcore.api.meta import Manifest

MAX_MESSAGE = 1024


class Series(msgspec.Struct):
    """One Event object: how often it happened, and how much of that the server knows. `about` is its object's identity,
    `key` tells it from the object's other Events. `name` is the Event's once it is written, `proposed` before that."""

    about: Hashable
    key: Hashable
    involved: Manifest
    namespace: str
    type: str
    reason: str
    message: str
    first: datetime
    last: datetime
    count: int = 0
    written: int = 0
    name: str = ""
    proposed: str = ""


class Backlog:
    """Series in the order in which their objects came, each once."""

    def __init__(self) -> None:
        self._warnings: dict[Hashable, dict[Hashable, Series]] = {}
        self._others: dict[Hashable, dict[Hashable, Series]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, series: Series) -> None:
        waiting = self._queue(series).setdefault(series.about, {})
        if series.key not in waiting:
            waiting[series.key] = series
            self._size += 1

    def take(self, *, together: bool) -> list[Series]:
        """The next to write: one, or where `together`, all new ones of an object that are no warnings and fit into one
        message. Raises IndexError when nothing waits.
        """
        first = next(self._in_order(), None)
        if first is None:
            raise IndexError("nothing waits")
        queue = self._queue(first)
        waiting = queue[first.about]
        taken = [first]
        if together and queue is self._others and not first.name:
            taken = list(_that_fit(series for series in waiting.values() if not series.name))
        for series in taken:
            del waiting[series.key]
        if not waiting:
            del queue[first.about]
        self._size -= len(taken)
        return taken

    def _in_order(self) -> Iterator[Series]:
        for queue in (self._warnings, self._others):
            for waiting in queue.values():
                yield from waiting.values()

    def _queue(self, series: Series) -> dict[Hashable, dict[Hashable, Series]]:
        return self._warnings if series.type == "Warning" else self._others


def _that_fit(waiting: Iterator[Series]) -> Iterator[Series]:
    length = -2
    for number, series in enumerate(waiting):
        length += len(series.message) + 2
        if number > 0 and length > MAX_MESSAGE:
            return
        yield series


def told_together(batch: list[Series]) -> Series:
    """One Event for several of one object: all messages in order, under the last one's reason."""
    last = batch[-1]
    return Series(
        about=last.about,
        key=tuple(series.key for series in batch),
        involved=last.involved,
        namespace=last.namespace,
        type=last.type,
        reason=last.reason,
        message="; ".join(series.message for series in batch),
        first=min(series.first for series in batch),
        last=max(series.last for series in batch),
        count=1,
    )
