"""What a container uses is what all its processes use."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from kfcore.clock import SystemClock
from kfcore_local.usage import Meter

BUSY = (
    "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'data = bytearray(50_000_000)\\nwhile True: pass'])"
)


async def test_a_container_uses_what_all_processes_below_it_do() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", BUSY, start_new_session=True)
    meter = Meter(lambda: {("uid", "main"): process.pid}, SystemClock())
    try:
        async with asyncio.timeout(20):
            await meter.measure()
            assert meter.usage == {}, "a rate needs two points in time"
            while True:
                await asyncio.sleep(0.2)
                usage = (await meter.measure())["uid", "main"]
                if usage.cores > 0.2 and usage.memory > 50_000_000:
                    break
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    assert await meter.measure() == {}


async def test_where_nothing_runs_nothing_is_used() -> None:
    assert await Meter(dict, SystemClock()).measure() == {}
