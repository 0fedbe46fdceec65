"""Memory limits of containers, kept by looking: once a second those that run and have a limit come in, and whichever
has more memory than it may is ended as the kernel of a cluster's node would end it (`OOMKilled`). This needs no rights
and no cgroup; what a container takes and gives back within a second goes unseen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec
import structlog

from kfcore.api.quantity import parse_quantity
from kfcore.clock import Clock
from kfcore_local.container_runner import ContainerRunner
from kfcore_local.usage import below, totals

log = structlog.get_logger(__name__)

SECONDS = 1.0


class Limited(msgspec.Struct, frozen=True):
    """A running container with its limit in bytes, and the process that all others of it are below."""

    runner: ContainerRunner
    limit: int
    pid: int


class MemoryLimits:
    def __init__(self, runners: Callable[[], Collection[ContainerRunner]], clock: Clock) -> None:
        self._runners = runners
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(SECONDS)
            if limited := list(filter(None, map(_limited, self._runners()))):
                for container, memory in await asyncio.to_thread(_too_large, limited):
                    name = container.runner.record.container.name
                    log.info("container.out_of_memory", container=name, memory=memory, limit=container.limit)
                    await container.runner.out_of_memory()


def _limited(runner: ContainerRunner) -> Limited | None:
    limit = runner.record.container.resources.limits.get("memory")
    running = runner.running
    if limit is None or running is None or not running[0].supervisor_pid:
        return None
    return Limited(runner, int(parse_quantity(limit)), running[0].supervisor_pid)


def _too_large(limited: Collection[Limited]) -> list[tuple[Limited, int]]:
    """Those over their limits. Pages that processes share are counted once, where the machine can tell."""
    seen = totals({container.pid for container in limited})
    found = []
    for container in limited:
        if container.pid in seen and seen[container.pid].memory > container.limit:
            memory = _proportional(container.pid)
            if memory is None:
                memory = seen[container.pid].memory
            if memory > container.limit:
                found.append((container, memory))
    return found


def _proportional(root: int) -> int | None:
    """Each process's own pages and its part of those that it shares; None where that is not told."""
    total = 0
    for pid in below(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked; on another system there is none at all
        except OSError:
            return None
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total or None
