"""One pod from bound to deleted: its volumes, its containers in order, its end. A pod comes in and its changes; what
the API server is told of it goes out by `pod_reports.py`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from kfcore.api.meta import Manifest
from kfcore.clock import Timer
from kfcore_local import host_ports, recovery
from kfcore_local.container import kill_marked
from kfcore_local.container_command import PodFiles
from kfcore_local.container_runner import ContainerRunner
from kfcore_local.environment import PodFacts
from kfcore_local.machine import Machine
from kfcore_local.pod_conditions import pod_conditions
from kfcore_local.pod_reports import PodReports
from kfcore_local.pod_status import ContainerRecord, PodFate, PodPlace, pod_status, timestamp
from kfcore_local.pod_volumes import PodVolumes
from kfcore_local.pods import LocalPod
from kfcore_local.volume_contents import MountError

log = structlog.get_logger(__name__)

FIRST_MOUNT_RETRY, LONGEST_MOUNT_RETRY = 0.5, 10.0
LEAST_GRACE = 2.0
"""What a sidecar gets when the others have used up the pod's grace."""


class PodWorker:
    """Owns one pod's processes. `update` tells it what became of the object; `run` returns when the pod is gone."""

    def __init__(self, machine: Machine, pod: LocalPod, directory: Path) -> None:
        self.pod = pod
        self.directory = directory
        self._machine = machine
        self._init: list[ContainerRunner] = []
        self._main: list[ContainerRunner] = []
        self._ephemeral: list[ContainerRunner] = []
        self._facts = PodFacts("", machine.host_ip, machine.node_name)
        self._volumes: PodVolumes | None = None
        self._mounted = False
        self._place: PodPlace | None = None
        self._fate = PodFate()
        self._stop = asyncio.Event()
        self._deleted = asyncio.Event()
        self._gone = asyncio.Event()
        self._dirty = asyncio.Event()
        self._updated = asyncio.Event()
        self._grace_changed = asyncio.Event()
        self._reports = PodReports(machine.client, machine.clock, pod, self._gone)
        self.update(pod)

    def update(self, pod: LocalPod) -> None:
        self.pod = pod
        self._updated.set()
        self._grace_changed.set()
        if self._volumes is not None:
            self._volumes.update(pod)
        if pod.spec.readiness_gates:
            self._dirty.set()
        given = {container.name: container.resources for container in (*pod.spec.init_containers, *pod.spec.containers)}
        for runner in self.runners():
            runner.resize(given.get(runner.record.container.name))
        if pod.metadata.deletion_timestamp is not None:
            self._deleted.set()
            self._stop.set()

    def gone(self) -> None:
        """The object was removed, by us or behind our back."""
        self._gone.set()
        self._deleted.set()
        self._stop.set()

    def runner(self, container: str) -> ContainerRunner | None:
        """Who runs the container; None when it is not the pod's, or the pod has not come to it."""
        return next((runner for runner in self.runners() if runner.record.container.name == container), None)

    async def run(self) -> None:
        try:
            if self.pod.is_finished:
                self._make_runners()
                self._take_up()
            elif not self._deleted.is_set():
                await self._live_or_fail()
            await self._deleted.wait()
            await self._reports.confirm_deletion()
            shutil.rmtree(self.directory, ignore_errors=True)  # else the next kubelet has the logs, or clears up
        finally:
            self._machine.gpus.release(self.pod.metadata.uid)
            self._machine.network.remove_pod(self.pod)

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _live_or_fail(self) -> None:
        try:
            await self._live()
        except Exception as error:
            log.exception("pod.worker_failed", pod=self.pod.key)
            message = f"the kubelet could not run the pod: {type(error).__name__}: {error}"
            self._machine.recorder.warning(self.pod, "FailedSync", message)
            self._fate = PodFate(failed=True, reason="FailedSync", message=message)
            self._place = self._place or PodPlace("", self._machine.host_ip, self._machine.clock.now())
            await self._write_status()

    async def _live(self) -> None:
        machine, pod = self._machine, self.pod
        address = machine.network.add_pod(pod)
        start_time = pod.status.start_time or machine.clock.now()
        self._place = PodPlace(address, machine.host_ip, start_time)
        self._facts = PodFacts(address, machine.host_ip, machine.node_name)
        self._volumes = PodVolumes(machine.client, machine.clock, pod, self._facts, self.directory)
        self._make_runners()
        if pod.status.container_statuses and not await self._recover():
            await self._write_status()
            return
        if problem := machine.sandboxes.problem(pod, machine.images):
            machine.recorder.warning(pod, "FailedMount", problem)
            self._fate = PodFate(failed=True, reason="FailedMount", message=problem)
            await self._write_status()
            return
        if missing := machine.sandboxes.missing(pod):
            machine.recorder.warning(pod, "NotOffered", missing)
        for container in (*pod.spec.init_containers, *pod.spec.containers):
            machine.network.expect_peers(pod, [v.value for v in container.env if v.value_from is None])
        deadline = self._set_deadline(start_time)
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(self._keep_status()),
                group.create_task(self._stop_when_asked()),
                group.create_task(self._kill_when_gone()),
            ]
            if await self._set_up_volumes(self._volumes):
                self._mounted = True
                self._dirty.set()
                beside += [group.create_task(self._volumes.run()), group.create_task(self._run_ephemeral())]
                if machine.sandboxes.opens_host_ports and (wanted := list(host_ports.of(pod))):
                    serving = host_ports.serve(machine.network, machine.recorder, pod, address, wanted)
                    beside.append(group.create_task(serving))
                await self._run_containers()
                await self._kill(self._ephemeral)
            for task in beside:
                task.cancel()
            if deadline is not None:
                deadline.cancel()
        self._mounted = False
        machine.gpus.release(pod.metadata.uid)  # before anybody hears that the pod has ended
        await self._write_status()
        log.info("pod.ended", namespace=pod.namespace, name=pod.name, phase=self._reports.written.get("phase"))

    def _make_runners(self) -> None:
        spec = self.pod.spec
        self._init = [self._new_runner(ContainerRecord(container, is_init=True)) for container in spec.init_containers]
        self._main = [self._new_runner(ContainerRecord(container)) for container in spec.containers]

    def _new_runner(self, record: ContainerRecord) -> ContainerRunner:
        if self.pod.spec.init_containers and not record.is_ephemeral:
            record.state = {"waiting": {"reason": "PodInitializing"}}
        files = PodFiles(self.directory, self._volumes.directories if self._volumes is not None else {})
        return ContainerRunner(self._machine, self.pod, record, self._facts, files, self._dirty.set)

    async def _set_up_volumes(self, volumes: PodVolumes) -> bool:
        """Whether the containers may start: not when the pod is stopped before its volumes are there."""
        wait, first = FIRST_MOUNT_RETRY, self._init[:1] or self._main
        while not self._stop.is_set():
            try:
                await volumes.set_up()
            except MountError as error:
                self._machine.recorder.warning(self.pod, "FailedMount", str(error))
                for runner in first:
                    runner.record.state = {"waiting": {"reason": "ContainerCreating", "message": str(error)}}
                self._dirty.set()
                with suppress(TimeoutError):
                    async with self._machine.clock.timeout(wait):
                        await self._stop.wait()
                wait = min(wait * 2, LONGEST_MOUNT_RETRY)
            else:
                return True
        return False

    def _take_up(self) -> bool:
        """Begin from what an earlier kubelet wrote: whether the pod goes on."""
        init, main = ([runner.record for runner in runners] for runners in (self._init, self._main))
        goes_on = recovery.take_up(self.pod, init, main, timestamp(self._machine.clock.now()))
        for runner in self.runners():
            runner.find_logs()
        return goes_on

    async def _recover(self) -> bool:
        """Take up a pod that an earlier kubelet ran; nothing of it may still run beside what is started now."""
        for status in (*self.pod.status.init_container_statuses, *self.pod.status.container_statuses):
            if status.state.get("running") and status.container_id:
                await asyncio.to_thread(kill_marked, status.container_id)
        goes_on = self._take_up()
        if goes_on:
            message = "kfcore was started again: the containers that are not done are started again too"
            self._machine.recorder.normal(self.pod, "SandboxChanged", message)
        return goes_on

    async def _run_containers(self) -> None:
        """Init containers one after the other, then the others together; sidecars end last."""
        async with asyncio.TaskGroup() as sidecars:
            running = []
            for runner in self._init:
                if self._stop.is_set():
                    break
                if runner.record.container.is_sidecar:
                    task = sidecars.create_task(runner.run())
                    running.append(runner)
                    started = asyncio.ensure_future(runner.started.wait())
                    await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED)
                    started.cancel()
                else:
                    await runner.run()
                if not runner.record.initialized:
                    break
            else:
                async with asyncio.TaskGroup() as group:
                    for runner in self._main:
                        group.create_task(runner.run())
            for runner in reversed(running):
                await runner.stop(self._grace())

    async def _run_ephemeral(self) -> None:
        """Containers that come to be while the pod runs, for somebody who looks into it. They end with the others."""
        earlier = {status.name: status for status in self.pod.status.ephemeral_container_statuses}
        async with asyncio.TaskGroup() as group:
            while True:
                self._updated.clear()
                for container in self.pod.spec.ephemeral_containers:
                    if self.runner(container.name) is None:
                        found = container if container.command else msgspec.structs.replace(container, command=["sh"])
                        record = ContainerRecord(found, is_ephemeral=True)
                        recovery.remember(record, earlier.get(container.name), timestamp(self._machine.clock.now()))
                        self._ephemeral.append(self._new_runner(record))
                        group.create_task(self._ephemeral[-1].run())
                await self._updated.wait()

    def _set_deadline(self, start_time: datetime) -> Timer | None:
        seconds = self.pod.spec.active_deadline_seconds
        if seconds is None:
            return None
        left = seconds - (self._machine.clock.now() - start_time).total_seconds()

        def over() -> None:
            message = "Pod was active on the node longer than the specified deadline"
            self._machine.recorder.normal(self.pod, "DeadlineExceeded", message)
            self._fate = PodFate(stopping=True, failed=True, reason="DeadlineExceeded", message=message)
            self._stop.set()

        return self._machine.clock.call_later(max(left, 0.0), over)

    async def _stop_when_asked(self) -> None:
        await self._stop.wait()
        if not self._fate.failed:
            self._fate = PodFate(stopping=True)
        grace = self._grace()
        async with asyncio.TaskGroup() as group:
            hurry = group.create_task(self._shorten_grace(grace))
            await self._stop_in_order(grace)
            hurry.cancel()

    async def _stop_in_order(self, grace: float) -> None:
        """Sidecars end last, in the time that is left."""
        clock, sidecars = self._machine.clock, [r for r in self._init if r.record.container.is_sidecar]
        begun = clock.monotonic()
        async with asyncio.TaskGroup() as group:
            for runner in self.runners():
                if runner not in sidecars:
                    group.create_task(runner.stop(grace))
        for runner in reversed(sidecars):
            left = grace - (clock.monotonic() - begun)
            await runner.stop(left if left > LEAST_GRACE else min(LEAST_GRACE, grace))

    async def _shorten_grace(self, grace: float) -> None:
        """A second deletion may give less time than the first."""
        while (shorter := self._grace()) >= grace:
            self._grace_changed.clear()
            await self._grace_changed.wait()
        await self._machine.clock.sleep(shorter)
        await self._kill(list(self.runners()))

    async def _kill_when_gone(self) -> None:
        await self._gone.wait()
        await self._kill(list(self.runners()))

    async def _kill(self, runners: Sequence[ContainerRunner]) -> None:
        async with asyncio.TaskGroup() as group:
            for runner in runners:
                group.create_task(runner.kill())

    def _grace(self) -> float:
        if self._gone.is_set():
            return 0.0
        asked = self.pod.metadata.deletion_grace_period_seconds
        grace = self.pod.spec.termination_grace_period_seconds if asked is None else asked
        return 30.0 if grace is None else float(grace)

    def runners(self) -> Iterator[ContainerRunner]:
        yield from self._init
        yield from self._main
        yield from self._ephemeral

    # ── what the API server is told ──────────────────────────────────────────────────────────────────────────────────

    async def _keep_status(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._write_status()

    async def _write_status(self) -> None:
        await self._reports.write(self._status)
        if self._gone.is_set():
            self.gone()

    def _status(self) -> Manifest:
        assert self._place is not None
        init, main, ephemeral = (_records(runners) for runners in (self._init, self._main, self._ephemeral))
        status = pod_status(self.pod, init, main, ephemeral, self._place, self._fate)
        before = [*self.pod.status.conditions, *self._reports.written.get("conditions", ())]
        now = timestamp(self._machine.clock.now())
        status["conditions"] = pod_conditions(self.pod, status["phase"], init, main, before, now, sandbox=self._mounted)
        return status


def _records(runners: Sequence[ContainerRunner]) -> list[ContainerRecord]:
    return [runner.record for runner in runners]
