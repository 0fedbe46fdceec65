"""What running containers use of the machine: the processes below each supervisor, summed up, and how fast they use it.
Nothing is measured until somebody asks.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime

import msgspec

from kfcore.clock import Clock

Owner = tuple[str, str]
"""A pod's uid and a container's name."""


class Process(msgspec.Struct, frozen=True):
    """`seconds` of processor time, those of its children that have ended included; `memory` in bytes."""

    parent: int
    seconds: float
    memory: int


class Usage(msgspec.Struct, frozen=True):
    """What a container uses: `cores` (1.0 is one processor all the time) and `memory` in bytes."""

    cores: float
    memory: int

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.cores + other.cores, self.memory + other.memory)


NEWS_SECONDS = 2.0
"""How often it is looked whether there are new containers."""


class Meter:
    """Rates between one `measure` and the next. `containers` gives the process that is above each one's others."""

    def __init__(self, containers: Callable[[], Mapping[Owner, int]], clock: Clock) -> None:
        self._containers = containers
        self._clock = clock
        self._last: dict[tuple[Owner, int], float] = {}
        self._machine_last: float | None = None
        self.at: datetime | None = None
        self.window = 0.0
        self.usage: dict[Owner, Usage] = {}
        """As measured last, of the containers that were there twice."""
        self.machine: Usage | None = None
        """Of everything that runs on it, where the system tells."""
        self._measured = 0.0

    async def keep_measuring(self, seconds: float) -> None:
        """Measure every so many seconds until cancelled, and sooner when there are containers that nobody has measured:
        whoever scales by it, or asks, need not wait for the next round."""
        while True:
            await self.measure()
            waited = 0.0
            while waited < seconds and not (waited and self._knows_too_little()):
                await self._clock.sleep(pause := min(NEWS_SECONDS, seconds - waited))
                waited += pause

    def _knows_too_little(self) -> bool:
        return any(owner not in self.usage for owner in self._containers())

    async def measure(self) -> dict[Owner, Usage]:
        containers = dict(self._containers())
        sums = await asyncio.to_thread(totals, set(containers.values())) if containers else {}
        now, self.at = self._clock.monotonic(), self._clock.now()
        passed, self._measured = now - self._measured, now
        self.window = passed
        self._measure_machine(passed)
        seconds: dict[tuple[Owner, int], float] = {}
        usage = {}
        for owner, pid in containers.items():
            if pid not in sums:
                continue
            seconds[owner, pid] = sums[pid].seconds
            before = self._last.get((owner, pid))
            if before is not None and passed > 0:
                usage[owner] = Usage(max(0.0, sums[pid].seconds - before) / passed, sums[pid].memory)
        self._last = seconds
        self.usage = usage
        return usage

    def _measure_machine(self, passed: float) -> None:
        try:
            busy, memory = _machine()
        except (OSError, LookupError):
            return  # not Linux
        if self._machine_last is not None and passed > 0:
            self.machine = Usage(max(0.0, busy - self._machine_last) / passed, memory)
        self._machine_last = busy


def totals(roots: Collection[int]) -> dict[int, Process]:
    """The sums over each root and all processes below it."""
    processes, children = _tree()
    sums = {}
    for root in roots:
        if root not in processes:
            continue
        members = [processes[pid] for pid in _from_root(root, children)]
        seconds, memory = sum(member.seconds for member in members), sum(member.memory for member in members)
        sums[root] = Process(processes[root].parent, seconds, memory)
    return sums


def below(root: int) -> list[int]:
    """A process and all that are below it."""
    processes, children = _tree()
    return _from_root(root, children) if root in processes else []


def _tree() -> tuple[dict[int, Process], dict[int, list[int]]]:
    processes = dict(_from_proc() if sys.platform == "linux" else _from_ps())
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    return processes, children


def _from_root(root: int, children: Mapping[int, list[int]]) -> list[int]:
    found = [root]
    for pid in found:
        found += children.get(pid, ())
    return found


def _from_proc() -> Iterable[tuple[int, Process]]:
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it ended while we looked
        # After the name: state, parent, … utime stime cutime cstime at 11 to 14, resident pages at 21.
        spent = sum(int(field) for field in fields[11:15])
        yield int(entry), Process(int(fields[1]), spent / tick, int(fields[21]) * page)


def _machine() -> tuple[float, int]:
    """Processor seconds since it started, and bytes that are not available."""
    with open("/proc/stat", "rb") as file:
        # user nice system idle iowait irq softirq steal
        ticks = [int(field) for field in file.readline().split()[1:9]]
    with open("/proc/meminfo", "rb") as file:
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(b":") for line in file)}
    busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
    return busy, (kilobytes[b"MemTotal"] - kilobytes[b"MemAvailable"]) * 1024


def _from_ps() -> Iterable[tuple[int, Process]]:
    listed = subprocess.run(["ps", "-axo", "pid=,ppid=,rss=,time="], capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        pid, parent, kilobytes, time = line.split()
        yield int(pid), Process(int(parent), _seconds(time), int(kilobytes) * 1024)


def _seconds(time: str) -> float:
    """`[[days-]hours:]minutes:seconds[.hundredths]`."""
    days, _, rest = time.rpartition("-")
    total = 0.0
    for part in rest.split(":"):
        total = total * 60 + float(part)
    return total + int(days or 0) * 86400
