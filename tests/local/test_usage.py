"""What a container uses is what all its processes use."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from patience import eventually

from kfcore.clock import SystemClock
from kfcore_local.usage import Meter

BUSY = (
    "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'data = bytearray(50_000_000)\\nwhile True: pass'])"
)


async def test_a_container_uses_what_all_processes_below_it_do() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", BUSY, start_new_session=True)
    meter = Meter(lambda: {("uid", "main"): process.pid}, SystemClock())
    try:
        await meter.measure()
        assert meter.usage == {}, "a rate needs two points in time"

        async def child_is_up() -> bool:
            return (await meter.measure())["uid", "main"].memory > 50_000_000

        async def child_is_busy() -> bool:
            return (await meter.measure())["uid", "main"].cores > 0

        await eventually(child_is_up)
        await eventually(child_is_busy)  # while the other only waits for it, whatever the machine leaves to them
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    assert await meter.measure() == {}


async def test_where_nothing_runs_nothing_is_used() -> None:
    assert await Meter(dict, SystemClock()).measure() == {}
