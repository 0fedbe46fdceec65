"""Waiting in tests for what other processes bring about, and no watch tells of. The condition is looked at again and
again; how long that may take says nothing about the product, so that the time is ample: a busy machine fails no test.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, TypeVar

PATIENCE = 240.0
"""Seconds, after which what is waited for will never come."""

T = TypeVar("T")


async def eventually(condition: Callable[[], Awaitable[T]], what: str = "", *, seconds: float = PATIENCE) -> T:
    """The condition's answer, once it is something."""
    deadline = time.monotonic() + seconds
    while not (found := await condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or condition}"
        await asyncio.sleep(0.02)
    return found


def wait_until(condition: Callable[[], T], what: str = "", *, seconds: float = PATIENCE) -> T:
    """The same, for a test that is no coroutine."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or condition}"
        time.sleep(0.02)
    return found


def text_of(path: Path) -> str:
    """Of a file that may not be there yet."""
    return path.read_text() if path.exists() else ""


def lines_until(last: str, stream: IO[str]) -> list[str]:
    """What a process prints before the line `last`, which it must print."""
    lines = []
    for line in stream:
        if line.rstrip("\n") == last:
            return lines
        lines.append(line)
    raise AssertionError(f"it ended before {last!r}: {lines}")
