"""What a container prints, from its pipes or its terminal: into its log, and to those who are attached to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from kfcore_local.container_log import ContainerLog

_PIECE = 64 * 1024
_MOST_EARLY = 64 * 1024
_NOTHING_MORE = 1.0
"""How long after the end of a container its pipes may stay open without a byte, held by a process nobody could kill."""

Listener = Callable[[str, bytes], None]


class ContainerOutput:
    """`keep`: what is printed before somebody attaches is kept for the first who does."""

    def __init__(self, log: ContainerLog, *, keep: bool = False) -> None:
        self.listeners: set[Listener] = set()
        """Told of what is printed, by stream, beside the log."""
        self._log = log
        self._early: list[tuple[str, bytes]] | None = [] if keep else None
        self._early_bytes = 0
        self._open: dict[int, Callable[[], None]] = {}
        self._holders: set[object] = set()
        self._all_read = asyncio.Event()
        self._pieces = 0

    def collect(self, fd: int, stream: str, ended: Callable[[], None] | None = None) -> None:
        """Read `fd` to its end and close it; `ended` is called just before."""

        def readable() -> None:
            try:
                data = os.read(fd, _PIECE)
            except BlockingIOError:
                return
            except OSError:
                data = b""  # a terminal that nobody has open any more
            if data:
                self._pieces += 1
                self._take(stream, data)
                return
            asyncio.get_running_loop().remove_reader(fd)
            del self._open[fd]
            if ended is not None:
                ended()
            os.close(fd)
            if not self._open:
                self._all_read.set()

        self._open[fd] = readable
        asyncio.get_running_loop().add_reader(fd, readable)

    def _take(self, stream: str, data: bytes) -> None:
        self._log.write(stream, data)
        if self._early is not None:
            self._early.append((stream, data))
            self._early_bytes += len(data)
            if self._early_bytes > _MOST_EARLY:
                self._early = None  # it is not waiting for somebody to talk to
        for listener in tuple(self.listeners):
            listener(stream, data)

    def take_early(self) -> list[tuple[str, bytes]]:
        """What was printed so far, for the first that asks, where it was to be kept."""
        early, self._early = self._early, None
        return early or []

    def hold(self, who: object) -> None:
        """Let the container wait with what it prints, for somebody who is behind, until `release`."""
        if not self._holders:
            for fd in self._open:
                asyncio.get_running_loop().remove_reader(fd)
        self._holders.add(who)

    def release(self, who: object) -> None:
        if who in self._holders:
            self._holders.remove(who)
            if not self._holders:
                for fd, readable in self._open.items():
                    asyncio.get_running_loop().add_reader(fd, readable)

    async def read_to_the_end(self) -> None:
        """When all processes of the container are gone: however busy this machine is, what they printed is not lost."""
        while self._open:
            before = self._pieces
            try:
                async with asyncio.timeout(_NOTHING_MORE):
                    await self._all_read.wait()
            except TimeoutError:
                if self._pieces == before and not self._holders:
                    return
