"""The last lines of a terminal, kept below what scrolls by: log lines come in and go above, the board is drawn again
below them. Text only; what the board shows is `board.py`'s.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TextIO

FRAME_SECONDS = 0.05
"""How long lines may wait to be written together: a terminal that is redrawn for every line flickers, and is slow."""
REFRESH_SECONDS = 1.0
SMALLEST = (40, 10)

Draw = Callable[[int, int], list[str]]
"""Columns and lines that there are → the lines to show, each no longer than that."""


def can_be_drawn_on(stream: TextIO, environ: os._Environ[str] | dict[str, str] = os.environ) -> bool:
    """Whether it is a terminal with room that moves its cursor when told to."""
    if not stream.isatty() or environ.get("TERM", "dumb") == "dumb":
        return False
    columns, lines = _size(stream)
    return columns >= SMALLEST[0] and lines >= SMALLEST[1]


class Screen:
    """`write` may be called at any time; what is written after `close` goes to the stream as it is."""

    def __init__(self, stream: TextIO, draw: Draw) -> None:
        self._stream = stream
        self._draw = draw
        self._text: list[str] = []
        self._shown = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def write(self, text: str) -> None:
        """Show whole lines above the board, soon."""
        if self._closed:
            self._stream.write(text)
            self._stream.flush()
            return
        self._text.append(text)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FRAME_SECONDS, self._frame)

    async def run(self) -> None:
        """Draw the board every second, also when nothing is written, until cancelled."""
        try:
            while True:
                self._frame()
                await asyncio.sleep(REFRESH_SECONDS)
        finally:
            self.close()

    def close(self) -> None:
        """Take the board away, and write what still waits."""
        if not self._closed:
            self._closed = True
            self._show([])

    def _frame(self) -> None:
        if not self._closed:
            columns, lines = _size(self._stream)
            # The last column stays free: a terminal that wraps there would show a line as two.
            self._show(self._draw(columns - 1, lines // 2))

    def _show(self, board: list[str]) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        erase = f"\x1b[{self._shown}F\x1b[J" if self._shown else ""
        text, self._text = "".join(self._text), []
        self._shown = len(board)
        self._stream.write(erase + text + "".join(f"{line}\n" for line in board))
        self._stream.flush()


def _size(stream: TextIO) -> tuple[int, int]:
    try:
        return tuple(os.get_terminal_size(stream.fileno()))  # type: ignore[return-value]
    except (OSError, ValueError):
        return 0, 0
