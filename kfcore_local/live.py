"""The live view of `kfcore local run`: on a terminal, the board below the log lines while jobs run; else, nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from kfcore.clock import Clock
from kfcore_local.board import Board
from kfcore_local.console import Console
from kfcore_local.errors import ErrorStream
from kfcore_local.follow import Follower
from kfcore_local.screen import Screen, can_be_drawn_on
from kfcore_local.usage import Meter, Owner

MEASURE_SECONDS = 2.0


@asynccontextmanager
async def live_view(
    console: Console,
    errors: ErrorStream,
    follower: Follower,
    containers: Callable[[], Mapping[Owner, int]],
    clock: Clock,
) -> AsyncIterator[None]:
    """Show the board of the follower's jobs while the block runs, where `console` is a terminal."""
    if not can_be_drawn_on(console.stream):
        yield
        return
    meter = Meter(containers, clock)
    board = Board(lambda: follower.unfinished, lambda: meter.usage, clock.monotonic, color=console.color)
    screen = Screen(console.stream, board.lines)
    console.screen = errors.screen = screen
    tasks = [asyncio.create_task(screen.run()), asyncio.create_task(meter.keep_measuring(MEASURE_SECONDS))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        console.screen = errors.screen = None
