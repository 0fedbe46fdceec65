"""What a container prints, in a file per attempt: bytes in from its pipes, lines out to `kubectl logs`.

Entries are those of the CRI: `TIME STREAM TAG CONTENT`, tag F for a whole line and P for a piece whose line goes on.
A piece is written as it comes, so that a progress bar is seen while it grows, and no byte is changed.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from kfcore.clock import Clock

log = structlog.get_logger(__name__)

BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a log is wanted. `tail` counts lines; `limit` is in bytes."""

    follow: bool = False
    timestamps: bool = False
    since: datetime | None = None
    tail: int | None = None
    limit: int | None = None


class ContainerLog:
    """One attempt's log. Written by the kubelet only; any number of readers follow it without polling."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self.closed = False
        self._clock = clock
        self._file = path.open("ab", buffering=0)
        self._changed = asyncio.Event()
        self._full = False

    def write(self, stream: str, data: bytes) -> None:
        """Append what came out of `stream` (stdout or stderr). A full disk loses output, never the container."""
        if self.closed:
            return  # of a process that nobody could kill
        moment = self._clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        prefix = f"{moment} {stream} ".encode()
        lines = data.split(b"\n")
        rest = lines.pop()
        entries = b"".join(prefix + b"F " + line + b"\n" for line in lines)
        if rest:
            entries += prefix + b"P " + rest + b"\n"
        try:
            self._file.write(entries)
        except OSError as error:
            if not self._full:
                log.warning("log.lost", path=str(self.path), error=errno.errorcode.get(error.errno or 0, str(error)))
            self._full = True
        self._notify()

    def close(self) -> None:
        """The container has ended: readers come to an end too."""
        if not self.closed:
            self.closed = True
            self._file.close()
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def read(self, selection: Selection) -> AsyncIterator[bytes]:
        """The selected lines, in pieces of any size."""
        left = selection.limit
        async for piece in self._render(selection):
            if left is not None:
                piece = piece[:left]
                left -= len(piece)
            if piece:
                yield piece
            if left == 0:
                return

    async def _render(self, selection: Selection) -> AsyncIterator[bytes]:
        since = (
            selection.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z").encode() if selection.since else b""
        )
        line = _Line(since, selection.timestamps)
        with self.path.open("rb") as file:
            if selection.tail is not None:
                file.seek(_start_of_tail(file.fileno(), file.seek(0, 2), selection.tail))
            rest = b""
            while True:
                changed, closed = self._changed, self.closed
                block = file.read(BLOCK)
                if block:
                    entries = (rest + block).split(b"\n")
                    rest = entries.pop()
                    if piece := b"".join(line.render(entries)):
                        yield piece
                elif closed or not selection.follow:
                    return
                else:
                    await changed.wait()


class _Line:
    """Entries to text: a line's time is written once, at its start, and `since` is asked of its start."""

    def __init__(self, since: bytes, timestamps: bool) -> None:
        self._since = since
        self._timestamps = timestamps
        self._at_start = True
        self._wanted = True

    def render(self, entries: list[bytes]) -> Iterator[bytes]:
        for entry in entries:
            time, _, rest = entry.partition(b" ")
            _, _, rest = rest.partition(b" ")
            tag, _, content = rest.partition(b" ")
            if self._at_start:
                self._wanted = time >= self._since
            if self._wanted:
                if self._at_start and self._timestamps:
                    yield time + b" "
                yield content
                if tag == b"F":
                    yield b"\n"
            self._at_start = tag == b"F"


def _start_of_tail(fd: int, size: int, lines: int) -> int:
    """Where the last `lines` lines begin: the file read backwards, as far as needed."""
    position = size
    data = b""
    while position > 0:
        step = min(BLOCK, position)
        position -= step
        data = os.pread(fd, step, position) + data
        starts = _line_starts(data, position == 0)
        if len(starts) > lines or position == 0:
            wanted = starts[-lines:] if lines else []
            return position + wanted[0] if wanted else size
    return size


def _line_starts(data: bytes, from_start: bool) -> list[int]:
    """Offsets in `data` at which a line begins: after an entry with tag F, and at the start of the file."""
    starts = [0] if from_start and data else []
    offset = 0
    entries = data.split(b"\n")
    for index, entry in enumerate(entries[:-1]):
        offset += len(entry) + 1
        ends_line = entry.split(b" ", 3)[2:3] == [b"F"]
        if ends_line and offset < len(data) and (index > 0 or from_start):
            starts.append(offset)
    return starts


def read_ended(path: Path, clock: Clock) -> ContainerLog:
    """The log of an attempt that has ended."""
    ended = ContainerLog(path, clock)
    ended.close()
    return ended
