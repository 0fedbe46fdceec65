"""A watch: from a kind's history and its further changes, through a selection, to the JSON lines of a stream.

A watcher that does not keep up is cut off; its client lists again, as with the real server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from kfcore.api.codec import encode_json
from kfcore.apiserver.storage import Change, Collection, Stored
from kfcore.client.errors import InsufficientStorage
from kfcore.clock import Clock, Timer

BACKLOG = 10_000
"""Events that may wait for a watcher to read them."""

BOOKMARK_SECONDS = 60.0

Selects = Callable[[Stored], bool]
Renders = Callable[[str, Stored], bytes]


class WatchStream(AsyncIterator[bytes]):
    """The body of a watch's response. Each chunk is one or more whole lines.

    `settle`, where given, is awaited before a chunk goes out: nobody sees what might still be undone.
    """

    def __init__(
        self,
        collection: Collection,
        selects: Selects,
        render: Renders,
        *,
        initial: Iterable[bytes] = (),
        missed: Iterable[Change] = (),
        on_close: Callable[[WatchStream], None],
        settle: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._collection = collection
        self._selects = selects
        self._render = render
        self._on_close = on_close
        self._settle = settle
        self._lines: deque[bytes] = deque(initial)
        self._waiter: asyncio.Future[None] | None = None
        self._timers: list[Timer] = []
        self._closed = False
        for change in missed:
            self._take(change)
        collection.subscribers.append(self._take)

    def end_after(self, clock: Clock, seconds: float) -> None:
        self._timers.append(clock.call_later(seconds, self.end))

    def bookmark_every(self, clock: Clock, line: Callable[[], bytes]) -> None:
        """Append a bookmark at times, so that an idle watcher's version does not fall out of the history."""

        def fire() -> None:
            if not self._closed:
                self._push(line())
                self._timers.append(clock.call_later(BOOKMARK_SECONDS, fire))

        self._timers.append(clock.call_later(BOOKMARK_SECONDS, fire))

    def end(self) -> None:
        """No more events; what waits can still be read."""
        if self._closed:
            return
        self._closed = True
        self._collection.subscribers.remove(self._take)
        for timer in self._timers:
            timer.cancel()
        self._on_close(self)
        self._wake()

    def cut_off(self) -> None:
        """End at once: what waits is not to be read."""
        self._lines.clear()
        self.end()

    async def aclose(self) -> None:
        self.cut_off()

    def __aiter__(self) -> WatchStream:
        return self

    async def __anext__(self) -> bytes:
        while True:
            while not self._lines:
                if self._closed:
                    raise StopAsyncIteration
                self._waiter = asyncio.get_running_loop().create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            ready = len(self._lines)
            if self._settle is not None:
                try:
                    await self._settle()
                except InsufficientStorage:
                    self.cut_off()
            if len(self._lines) >= ready:  # else it was cut off
                return self._take_out(ready)

    def _take_out(self, count: int) -> bytes:
        """The first lines; those that came in the meantime may be of changes that are still unwritten."""
        lines = self._lines
        if count == 1:
            return lines.popleft()
        if count < len(lines):
            return b"".join([lines.popleft() for _ in range(count)])
        chunk = b"".join(lines)
        lines.clear()
        return chunk

    def _take(self, change: Change) -> None:
        matches = self._selects(change.current)
        previous = change.previous
        if change.type == "ADDED":
            type_ = "ADDED" if matches else ""
        else:
            matched = previous is not None and self._selects(previous)
            if change.type == "DELETED":
                type_ = "DELETED" if matched else ""
            elif matches:
                type_ = "MODIFIED" if matched else "ADDED"
            else:
                type_ = "DELETED" if matched else ""
        if not type_:
            return
        shown = change.current
        if type_ == "DELETED" and not matches and previous is not None:
            shown = left_selection(previous, change.current.version)
        self._push(self._render(type_, shown))

    def _push(self, line: bytes) -> None:
        if len(self._lines) >= BACKLOG:
            self.cut_off()
            return
        self._lines.append(line)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def left_selection(previous: Stored, version: int) -> Stored:
    """An object that no longer matches is shown as it last did, at the version of the change."""
    metadata = {**previous.manifest["metadata"], "resourceVersion": str(version)}
    manifest = {**previous.manifest, "metadata": metadata}
    return Stored(manifest, encode_json(manifest), version)
