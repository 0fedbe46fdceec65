"""What a container prints, in files per attempt: bytes in from its pipes, lines out to `kubectl logs`. As kubelet does,
a file of 10 MiB makes way for a new one, and the latest five stay; readers go from one to the next.

Entries are those of the CRI: `TIME STREAM TAG CONTENT`, tag F for a whole line and P for a piece whose line goes on.
A piece is written as it comes, so that a progress bar is seen while it grows, and no byte is changed.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog

from kfcore.clock import Clock

log = structlog.get_logger(__name__)

BLOCK = 64 * 1024
MOST_BYTES = 10 * 1024 * 1024
MOST_FILES = 5


class Selection(msgspec.Struct, frozen=True):
    """Which part of a log is wanted. `tail` counts lines; `limit` is in bytes."""

    follow: bool = False
    timestamps: bool = False
    since: datetime | None = None
    tail: int | None = None
    limit: int | None = None


class ContainerLog:
    """One attempt's log. Written by the kubelet only; any number of readers follow it without polling. `lost` is told
    once, and why, when output could not be written.
    """

    def __init__(self, path: Path, clock: Clock, lost: Callable[[OSError], None] | None = None) -> None:
        self.path = path
        self.closed = False
        self._clock = clock
        self._file = path.open("ab", buffering=0)
        self._changed = asyncio.Event()
        self._full = False
        self._removed = False
        self._lost = lost
        self._size = self._file.tell()
        self._rotated = sorted(int(file.suffix[1:]) for file in path.parent.glob(f"{path.name}.[0-9]*"))
        """The numbers of the files that made way, oldest first."""

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
                if self._lost is not None:
                    self._lost(error)
            self._full = True
        self._size += len(entries)
        # Between lines, so that a file begins with one; but not for ever, if there is none.
        if self._size >= MOST_BYTES and (not rest or self._size >= 2 * MOST_BYTES):
            self._rotate()
        self._notify()

    def _rotate(self) -> None:
        fresh = self.path.with_name(f"{self.path.name}-new")
        try:
            file = fresh.open("ab", buffering=0)
            self.path.rename(self._file_of(self._number))
            fresh.rename(self.path)
        except OSError as error:
            log.warning("log.not_rotated", path=str(self.path), error=str(error))
            self._size = 0  # tried again after as much
            return
        self._file.close()
        self._file, self._size = file, 0
        self._rotated.append(self._number)
        while len(self._rotated) >= MOST_FILES:
            self._file_of(self._rotated.pop(0)).unlink(missing_ok=True)

    @property
    def _number(self) -> int:
        """The present file's, when it makes way."""
        return self._rotated[-1] + 1 if self._rotated else 1

    def _file_of(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _open(self, number: int) -> BinaryIO:
        return (self.path if number == self._number else self._file_of(number)).open("rb")

    def remove(self) -> None:
        """Its files. Who still reads one comes to the end of that."""
        self._removed = True
        for path in (self.path, *map(self._file_of, self._rotated)):
            path.unlink(missing_ok=True)

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
        if self._removed:
            return
        number, position = (self._first, 0) if selection.tail is None else self._start_of_tail(selection.tail)
        file = self._open(number)
        try:
            file.seek(position)
            rest = b""
            while True:
                changed, closed = self._changed, self.closed
                block = file.read(BLOCK)
                if block:
                    entries = (rest + block).split(b"\n")
                    rest = entries.pop()
                    if piece := b"".join(line.render(entries)):
                        yield piece
                elif number < self._number:
                    number = max(number + 1, self._first)
                    if self._removed:
                        return
                    file.close()
                    file, rest = self._open(number), b""
                elif closed or not selection.follow:
                    return
                else:
                    await changed.wait()
        finally:
            file.close()

    @property
    def _first(self) -> int:
        return self._rotated[0] if self._rotated else self._number

    def _start_of_tail(self, lines: int) -> tuple[int, int]:
        """The file, and where in it the last `lines` lines begin: the files read backwards, as far as needed."""
        number = self._number
        while True:
            with self._open(number) as file:
                position, found = _start_of_tail(file.fileno(), file.seek(0, 2), lines)
            if found >= lines or number == self._first:
                return number, position
            lines -= found
            number = max((n for n in self._rotated if n < number), default=self._first)


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


def _start_of_tail(fd: int, size: int, lines: int) -> tuple[int, int]:
    """Where the last `lines` lines of a file begin, and how many there are of them."""
    position = size
    data = b""
    while position > 0:
        step = min(BLOCK, position)
        position -= step
        data = os.pread(fd, step, position) + data
        starts = _line_starts(data, position == 0)
        if len(starts) > lines or position == 0:
            wanted = starts[-lines:] if lines else []
            return position + wanted[0] if wanted else size, len(wanted)
    return size, 0


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
