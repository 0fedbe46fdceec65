"""Where a process's stdin is written to: bytes in, as fast as the process takes them, from any number of writers."""

from __future__ import annotations

import asyncio
import os


class ContainerInput:
    """Owns `fd`, the other end of a pipe; that of a terminal (`terminal`) is closed by who reads from it."""

    def __init__(self, fd: int, *, terminal: bool = False) -> None:
        self.closed = False
        self._fd = fd
        self._terminal = terminal
        self._turn = asyncio.Lock()
        self._room: asyncio.Future[None] | None = None
        os.set_blocking(fd, False)

    async def write(self, data: bytes) -> bool:
        """Whether all of it was taken."""
        async with self._turn:
            while data and not self.closed:
                try:
                    data = data[os.write(self._fd, data) :]
                except BlockingIOError:
                    await self._wait_for_room()
                except OSError:
                    return False
            return not data

    async def _wait_for_room(self) -> None:
        loop = asyncio.get_running_loop()
        room = self._room = loop.create_future()
        loop.add_writer(self._fd, lambda: None if room.done() else room.set_result(None))
        try:
            await room
        finally:
            self._room = None
            if not self.closed:  # else the number may be another file's by now
                loop.remove_writer(self._fd)

    def close(self) -> None:
        """Whoever waits to write hears that it was not taken."""
        if self.closed:
            return
        self.closed = True
        if self._room is not None:
            asyncio.get_running_loop().remove_writer(self._fd)
            if not self._room.done():
                self._room.set_result(None)
        if not self._terminal:
            os.close(self._fd)
