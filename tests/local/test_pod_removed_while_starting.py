"""A pod that is deleted while its container is just being started."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from one_machine import POD, Machine, a_container, a_pod
from patience import PATIENCE, eventually

from kfcore.clock import SystemClock
from kfcore_local.kubelet import Kubelet
from kfcore_local.launcher import PLAIN, Descriptors, Launcher, Supervisor
from kfcore_local.sandboxes import Place, SharedMachine, Wanted
from kfcore_local.scheduler import Scheduler

UNMOVED = "trap '' TERM; while :; do sleep 0.01; done"


class Halting:
    """Launches supervisors that wait until they may go on, with the first thing that they do."""

    def __init__(self) -> None:
        self.launched: asyncio.Queue[int] = asyncio.Queue()

    def launch(self, spec: Mapping[str, Any], mark: str, descriptors: Descriptors) -> Supervisor:
        supervisor = PLAIN.launch(spec, mark, descriptors)
        os.kill(supervisor.pid, signal.SIGSTOP)
        self.launched.put_nowait(supervisor.pid)
        return supervisor

    def beside(self, mark: str) -> Launcher:
        return PLAIN


class SlowMachine(SharedMachine):
    launcher: Halting

    async def place(self, wanted: Wanted) -> Place:
        return msgspec.structs.replace(await super().place(wanted), launcher=self.launcher)


@pytest.mark.parametrize("seconds", [0, 1])
async def test_the_second_deletion_ends_it_that_gives_it_less_time(tmp_path: Path, seconds: int) -> None:
    machine = Machine(tmp_path / "unused", SystemClock())
    sandboxes = SlowMachine(machine.client, tmp_path / "kubelet")
    sandboxes.launcher = Halting()
    machine.kubelet = Kubelet(
        machine.client, node_name="here", root=tmp_path / "kubelet", sandboxes=sandboxes, clock=SystemClock()
    )
    tasks = [asyncio.create_task(part.run()) for part in (machine.kubelet, Scheduler(machine.client))]
    try:
        await machine.create(a_pod("pod", a_container("sh", "-c", UNMOVED), terminationGracePeriodSeconds=1000))
        supervisor = await asyncio.wait_for(sandboxes.launcher.launched.get(), PATIENCE)
        await machine.client.delete(POD, "pod", "default")
        await machine.create(a_pod("next", a_container("true")))  # by when the kubelet has heard of the deletion
        other = await asyncio.wait_for(sandboxes.launcher.launched.get(), PATIENCE)
        await machine.client.delete(POD, "pod", "default", grace_period_seconds=seconds)
        for pid in (supervisor, other):
            os.kill(pid, signal.SIGCONT)

        async def is_gone() -> bool:
            return not os.path.exists(f"/proc/{supervisor}")  # noqa: ASYNC240 - no disk is asked

        await eventually(is_gone)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
