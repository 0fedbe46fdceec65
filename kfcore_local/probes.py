"""The probes of one run of a container: when to look, how often until it counts, and what follows. Findings come in
from `probing.py`; whether the container has started, is ready, or must be restarted goes out to a `Probed`.

As kubelet's: nothing else is looked at before the startup probe has succeeded; without one a container has started when
it runs. A failed startup or liveness probe ends the looking: the next run of the container has its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from kfcore_local.handlers import Probe
from kfcore_local.probing import CannotProbe, Target


class Probed(Protocol):
    """Who runs the container."""

    def has_started(self) -> None: ...

    def is_ready(self, ready: bool) -> None: ...

    def was_unhealthy(self, message: str) -> None:
        """One look found the container unwell, or could not be taken."""
        ...

    async def has_failed(self, kind: str, grace: int | None) -> None:
        """A startup or liveness probe has given the container up; `grace` is the probe's own, in seconds."""
        ...


class Probes:
    """Those of `target`, which has begun to run now."""

    def __init__(self, target: Target, probed: Probed) -> None:
        self._target = target
        self._probed = probed
        self._began = target.clock.monotonic()

    async def run(self) -> None:
        """Until cancelled, or nothing is left to look at."""
        container, probed = self._target.container, self._probed
        if (startup := container.startup_probe) is not None:
            async with aclosing(self._outcomes("Startup", startup)) as outcomes:
                well = await anext(outcomes)
            if not well:
                await probed.has_failed("startup", startup.termination_grace_period_seconds)
                return
        if container.readiness_probe is None:
            probed.is_ready(True)
        probed.has_started()
        async with asyncio.TaskGroup() as group:
            if container.readiness_probe is not None:
                group.create_task(self._watch_readiness(container.readiness_probe))
            if container.liveness_probe is not None:
                group.create_task(self._watch_life(container.liveness_probe))

    async def _watch_readiness(self, probe: Probe) -> None:
        async for well in self._outcomes("Readiness", probe):
            self._probed.is_ready(well)

    async def _watch_life(self, probe: Probe) -> None:
        async for well in self._outcomes("Liveness", probe):
            if not well:
                await self._probed.has_failed("liveness", probe.termination_grace_period_seconds)
                return

    async def _outcomes(self, kind: str, probe: Probe) -> AsyncGenerator[bool, None]:
        """Each time that as many looks as the thresholds ask for have found the same."""
        clock = self._target.clock
        left = probe.initial_delay_seconds - (clock.monotonic() - self._began)
        if left > 0:
            await clock.sleep(left)
        same, last = 0, None
        while True:
            well = await self._look(kind, probe)
            if well is not None:
                same, last = (same + 1 if well is last else 1), well
                if same >= (probe.success_threshold if well else probe.failure_threshold):
                    yield well
            await clock.sleep(max(probe.period_seconds, 1))

    async def _look(self, kind: str, probe: Probe) -> bool | None:
        """None when the look could not be taken."""
        try:
            finding = await self._target.look(probe, f"{kind.lower()}-probe", max(probe.timeout_seconds, 1))
        except CannotProbe as error:
            self._probed.was_unhealthy(f"{kind} probe errored: {error}")
            return None
        if not finding.well:
            self._probed.was_unhealthy(f"{kind} probe failed: {finding.message}")
        return finding.well
