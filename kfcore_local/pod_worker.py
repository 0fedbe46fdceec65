"""One pod from bound to deleted: its containers in order, its status to the API server, its end. A pod comes in and its
changes, status patches and the final delete go out.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import structlog

from kfcore.api.meta import Manifest
from kfcore.client.errors import ApiError, Conflict, ConnectionFailed, NotFound
from kfcore.client.interface import Preconditions
from kfcore.clock import Timer
from kfcore_local import recovery
from kfcore_local.container import kill_marked
from kfcore_local.container_runner import ContainerRunner, Machine
from kfcore_local.environment import PodFacts
from kfcore_local.pod_status import ContainerRecord, PodFate, PodPlace, pod_status, timestamp
from kfcore_local.pods import Container, LocalPod

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


class PodWorker:
    """Owns one pod's processes. `update` tells it what became of the object; `run` returns when the pod is gone."""

    def __init__(self, machine: Machine, pod: LocalPod, directory: Path) -> None:
        self.pod = pod
        self.directory = directory
        self._machine = machine
        self._init: list[ContainerRunner] = []
        self._main: list[ContainerRunner] = []
        self._place: PodPlace | None = None
        self._fate = PodFate()
        self._stop = asyncio.Event()
        self._deleted = asyncio.Event()
        self._gone = asyncio.Event()
        self._dirty = asyncio.Event()
        self._writing = asyncio.Lock()
        self._written: Manifest = {}
        self.update(pod)

    def update(self, pod: LocalPod) -> None:
        self.pod = pod
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
        return next((r for r in (*self._init, *self._main) if r.record.container.name == container), None)

    async def run(self) -> None:
        try:
            if self.pod.is_finished:
                self._make_runners(PodFacts("", self._machine.host_ip, self._machine.node_name))
                self._take_up()
            elif not self._deleted.is_set():
                await self._live_or_fail()
            await self._deleted.wait()
            await self._delete()
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
            await self._write_status()

    async def _live(self) -> None:
        machine, pod = self._machine, self.pod
        address = machine.network.add_pod(pod)
        start_time = pod.status.start_time or machine.clock.now()
        self._place = PodPlace(address, machine.host_ip, start_time)
        facts = PodFacts(address, machine.host_ip, machine.node_name)
        self._make_runners(facts)
        if pod.status.container_statuses and not await self._recover():
            await self._write_status()
            return
        if problem := machine.sandboxes.problem(pod, machine.images):
            machine.recorder.warning(pod, "FailedMount", problem)
            self._fate = PodFate(failed=True, reason="FailedMount", message=problem)
            await self._write_status()
            return
        for container in (*pod.spec.init_containers, *pod.spec.containers):
            machine.network.expect_peers(pod, [v.value for v in container.env if v.value_from is None])
        deadline = self._set_deadline(start_time)
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._keep_status())
            stopper = group.create_task(self._stop_when_asked())
            killer = group.create_task(self._kill_when_gone())
            self._dirty.set()
            await self._run_containers()
            writer.cancel()
            stopper.cancel()
            killer.cancel()
            if deadline is not None:
                deadline.cancel()
        machine.gpus.release(pod.metadata.uid)  # before anybody hears that the pod has ended
        await self._write_status()
        log.info("pod.ended", namespace=pod.namespace, name=pod.name, phase=self._written.get("phase"))

    def _make_runners(self, facts: PodFacts) -> None:
        spec = self.pod.spec
        self._init = [self._new_runner(container, facts, is_init=True) for container in spec.init_containers]
        self._main = [self._new_runner(container, facts, is_init=False) for container in spec.containers]

    def _take_up(self) -> bool:
        """Begin from what an earlier kubelet wrote: whether the pod goes on."""
        init, main = ([runner.record for runner in runners] for runners in (self._init, self._main))
        goes_on = recovery.take_up(self.pod, init, main, timestamp(self._machine.clock.now()))
        for runner in self._runners():
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

    def _new_runner(self, container: Container, facts: PodFacts, *, is_init: bool) -> ContainerRunner:
        record = ContainerRecord(container, is_init)
        if self.pod.spec.init_containers:
            record.state = {"waiting": {"reason": "PodInitializing"}}
        return ContainerRunner(self._machine, self.pod, record, facts, self.directory / container.name, self._dirty.set)

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
            for runner in self._runners():
                group.create_task(runner.stop(grace))

    async def _kill_when_gone(self) -> None:
        await self._gone.wait()
        async with asyncio.TaskGroup() as group:
            for runner in self._runners():
                group.create_task(runner.kill())

    def _grace(self) -> float:
        if self._gone.is_set():
            return 0.0
        asked = self.pod.metadata.deletion_grace_period_seconds
        grace = self.pod.spec.termination_grace_period_seconds if asked is None else asked
        return 30.0 if grace is None else float(grace)

    def _runners(self) -> Iterator[ContainerRunner]:
        yield from self._init
        yield from self._main

    # ── what the API server is told ──────────────────────────────────────────────────────────────────────────────────

    async def _keep_status(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._write_status()

    async def _write_status(self) -> None:
        """One merge patch of what changed since the last one; nothing when nothing did."""
        async with self._writing:
            while not self._gone.is_set():
                status = self._status()
                changes = {field: value for field, value in status.items() if self._written.get(field) != value}
                if not changes:
                    return
                try:
                    await self._machine.client.patch(
                        LocalPod, self.pod.name, self.pod.namespace, {"status": changes}, subresource="status"
                    )
                except NotFound:
                    self.gone()
                except (ApiError, ConnectionFailed) as error:
                    log.warning("pod.status_not_written", pod=self.pod.key, error=str(error))
                    await self._machine.clock.sleep(RETRY_SECONDS)
                else:
                    self._written = status

    def _status(self) -> Manifest:
        assert self._place is not None
        init = [runner.record for runner in self._init]
        main = [runner.record for runner in self._main]
        present = self._written.get("conditions") or self.pod.status.conditions
        return pod_status(self.pod, init, main, self._place, self._fate, present, self._machine.clock.now())

    async def _delete(self) -> None:
        """Confirm the deletion: the object goes when the processes have."""
        if self._gone.is_set():
            return
        while True:
            try:
                await self._machine.client.delete(
                    LocalPod,
                    self.pod.name,
                    self.pod.namespace,
                    grace_period_seconds=0,
                    preconditions=Preconditions(uid=self.pod.metadata.uid),
                )
            except (NotFound, Conflict):
                return
            except (ApiError, ConnectionFailed) as error:
                log.warning("pod.not_deleted", pod=self.pod.key, error=str(error))
                await self._machine.clock.sleep(RETRY_SECONDS)
            else:
                return
