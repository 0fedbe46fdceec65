"""One container of a pod over all its attempts: start, hooks, probes, exit, restart policy and back-off. What it runs
is `container_command.py`'s matter; the order of the pod's containers, its status and its end are `pod_worker.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import msgspec

from kfcore.api.meta import Manifest
from kfcore_local import container_command, termination_message
from kfcore_local.backoff import RestartBackoff
from kfcore_local.container import Command, ContainerProcess, Exit, StartFailed
from kfcore_local.container_command import NoCommand, PodFiles
from kfcore_local.container_log import ContainerLog
from kfcore_local.environment import ConfigError, PodFacts
from kfcore_local.hooks import run_hook
from kfcore_local.machine import Machine
from kfcore_local.pod_access import Running
from kfcore_local.pod_status import ContainerRecord, timestamp
from kfcore_local.pods import LocalPod, ResourceRequirements
from kfcore_local.probes import Probes
from kfcore_local.probing import Target
from kfcore_local.volume_contents import MountError

CONFIG_RETRY = 5.0
SHUTDOWN_GRACE = 2.0
LEAST_GRACE_AFTER_HOOK = 2.0
OUT_OF_MEMORY = "OOMKilled"


class ContainerRunner:
    """Runs a container until its policy says that it is done, or `stop` is called. `record` says how it is doing."""

    def __init__(
        self,
        machine: Machine,
        pod: LocalPod,
        record: ContainerRecord,
        facts: PodFacts,
        files: PodFiles,
        changed: Callable[[], None],
    ) -> None:
        self.record = record
        self.log: ContainerLog | None = None
        self.previous_log: ContainerLog | None = None
        self.started = asyncio.Event()
        """The next container may start: this one runs, and its startup probe has succeeded."""
        self._machine = machine
        self._pod = pod
        self._facts = facts
        self._files = files
        self._directory = files.directory / record.container.name
        self._message = self._directory / "termination-log"
        self._changed = changed
        self._target: Target | None = None
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        """Nothing of the container runs, or is about to."""
        self._idle.set()
        self._grace = 0.0
        self._ran_for = 0.0
        self._ending = ""
        """Why the present run is being ended; empty while it is not."""
        self._gave_up = False

    def find_logs(self) -> None:
        """Take up the logs that an earlier kubelet wrote of the container."""
        count = self.record.restart_count
        self.log, self.previous_log = self._earlier_log(count), self._earlier_log(count - 1)

    def _earlier_log(self, attempt: int) -> ContainerLog | None:
        path = self._directory / f"{attempt}.log"
        if not path.exists():
            return None
        log = ContainerLog(path, self._machine.clock)
        log.close()
        return log

    def log_of(self, restart_count: int | None) -> ContainerLog | None:
        """Of that run, if it is the present one's or the one before: who asks may have heard of it a moment ago."""
        is_over = restart_count is not None and restart_count == self.record.restart_count - 1
        return self.previous_log if is_over and self.previous_log is not None else self.log

    @property
    def running(self) -> tuple[ContainerProcess, Command] | None:
        """The container's process and the command that it was started with, while it runs."""
        if self._target is None:
            return None
        return self._target.running.process, self._target.running.command

    async def run(self) -> None:
        if "terminated" in self.record.state and not self._restarts():
            return  # before this kubelet
        backoff, record, policy = RestartBackoff(), self.record, self._pod.spec.restart_policy
        while not self._stopping.is_set():
            self._idle.clear()
            try:
                exit_ = await self._attempt()
            finally:
                self._idle.set()
            if exit_ is None or self._stopping.is_set() or not self._restarts():
                return
            wait = backoff.next(self._ran_for)
            if wait:
                await self._back_off(wait)
            elif policy != "Always" and not (policy == "OnFailure" and exit_.code):
                # To the API server, what ends so has ended for good: it hears of the end with the next run.
                record.last_state, record.state = record.state, {"waiting": {"reason": "ContainerCreating"}}

    async def stop(self, grace: float) -> None:
        """End the container, and start it no more. When this returns, `record` says how it ended; so with `kill`."""
        self._grace = grace
        self._stopping.set()
        if self._target is not None:
            await self._end(self._target, grace, f"Stopping container {self.record.container.name}")
        await self._idle.wait()  # it may just be about to run; and how it ended is told from then on

    async def kill(self) -> None:
        """End the container at once, also while it has its grace, or is just being started."""
        self._grace = 0.0
        self._stopping.set()
        if self._target is not None:
            await self._target.running.process.kill()
        await self._idle.wait()

    def resize(self, resources: ResourceRequirements | None) -> None:
        """What the container may have from now on."""
        container = self.record.container
        if resources is not None and resources != container.resources:
            self.record.container = msgspec.structs.replace(container, resources=resources)

    async def out_of_memory(self) -> None:
        """End this run of the container: it has more memory than its limit allows."""
        if self._target is not None:
            self._ending = OUT_OF_MEMORY
            await self._target.running.process.kill()

    def _restarts(self) -> bool:
        return self.record.restarts(self._pod.spec.restart_policy)

    async def _attempt(self) -> Exit | None:
        """One run. None when there was none: the container was stopped before, or can never start."""
        command = await self._command()
        if command is None:
            return None
        record, container = self.record, self.record.container
        if "terminated" in record.state:
            record.last_state = record.state
        if record.last_state:
            record.restart_count += 1
        self._ending, self._gave_up = "", False
        started_at = self._machine.clock.now()
        record.container_id = f"kfcore://{self._pod.metadata.uid}/{container.name}/{record.restart_count}"
        try:
            self.previous_log, self.log = self.log, self._new_log()
            termination_message.make_file(self._message)
        except OSError as error:
            return self._not_started(started_at, f"cannot write its log: {error}")
        if container.image:
            self._event("Pulled", f'Container image "{container.image}" already present on machine')
        self._event("Created", f"Created container: {container.name}")
        try:
            process = await ContainerProcess.start(
                command,
                self.log,
                record.container_id,
                stdin=container.stdin,
                tty=container.tty,
                keep=container.stdin_once,
            )
        except (StartFailed, OSError) as error:
            self.log.close()
            return self._not_started(started_at, str(error))
        self._event("Started", f"Started container {container.name}")
        running = Running(process, process.inside, record.container_id)
        machine, uid, address = self._machine, self._pod.metadata.uid, self._facts.pod_ip
        self._target = Target(machine.network, machine.clock, uid, address, container, running)
        return await self._watch(self._target, started_at)

    def _not_started(self, started_at: datetime, why: str) -> Exit:
        name = self.record.container.name
        self._event("Failed", f"Error: failed to start container {name!r}: {why}", warning=True)
        self._ended(Exit(128), started_at, "StartError", f"failed to start container: {why}")
        return Exit(128)

    async def _watch(self, target: Target, started_at: datetime) -> Exit:
        clock, process = self._machine.clock, target.running.process
        assert self.log is not None
        begun = clock.monotonic()
        try:
            if self._stopping.is_set():
                exit_ = await process.stop(self._grace, clock)
            else:
                async with asyncio.TaskGroup() as group:
                    life = group.create_task(self._live(target, started_at))
                    exit_ = await process.wait()
                    life.cancel()
        except asyncio.CancelledError:
            # kfcore itself ends: as when a machine is shut down, there is a moment to put things away.
            await asyncio.shield(process.stop(min(SHUTDOWN_GRACE, self._pod_grace), clock))
            raise
        finally:
            self._target = None
            self.record.started = self.record.probed_ready = False
            self.log.close()
        self._ran_for = clock.monotonic() - begun
        message = await termination_message.last_words(
            self._message,
            self.record.container.termination_message_policy,
            self.log,
            failed=exit_.code != 0,
            containers=len(self._pod.spec.init_containers) + len(self._pod.spec.containers),
        )
        usual = "Completed" if exit_.code == 0 else "Error"
        self._ended(exit_, started_at, OUT_OF_MEMORY if self._ending == OUT_OF_MEMORY else usual, message)
        return exit_

    async def _live(self, target: Target, started_at: datetime) -> None:
        """What happens while the process runs: the hook after its start, and then its probes."""
        hook = self.record.container.lifecycle.post_start
        if hook is not None and (problem := await run_hook(target, hook, "post-start")):
            self._event("FailedPostStartHook", f"PostStartHook failed: {problem}", warning=True)
            self._gave_up = True
            await self._end(target, self._pod_grace, "FailedPostStartHook")
            return
        self.record.state = {"running": {"startedAt": timestamp(started_at)}}
        self._changed()
        await Probes(target, self).run()

    async def _end(self, target: Target, grace: float, why: str) -> None:
        """The hook before its end, then SIGTERM, and SIGKILL when the grace is over. Once for each run."""
        clock, hook = self._machine.clock, self.record.container.lifecycle.pre_stop
        again, self._ending = bool(self._ending), self._ending or why
        left = grace
        if not again:
            self._event("Killing", why)
            if hook is not None and grace > 0:
                begun = clock.monotonic()
                if problem := await run_hook(target, hook, "pre-stop", grace):
                    self._event("FailedPreStopHook", f"PreStopHook failed: {problem}", warning=True)
                left = max(grace - (clock.monotonic() - begun), LEAST_GRACE_AFTER_HOOK)
        await target.running.process.stop(left, clock)

    @property
    def _pod_grace(self) -> float:
        grace = self._pod.spec.termination_grace_period_seconds
        return 30.0 if grace is None else float(grace)

    # ── Probed ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def has_started(self) -> None:
        self.record.started = True
        self.started.set()
        self._changed()

    def is_ready(self, ready: bool) -> None:
        if self.record.probed_ready != ready:
            self.record.probed_ready = ready
            self._changed()

    def was_unhealthy(self, message: str) -> None:
        self._event("Unhealthy", message, warning=True)

    async def has_failed(self, kind: str, grace: int | None) -> None:
        if self._target is None or self._stopping.is_set():
            return
        restarts = (self.record.container.restart_policy or self._pod.spec.restart_policy) != "Never"
        self._gave_up = True
        why = f"Container {self.record.container.name} failed {kind} probe"
        await self._end(
            self._target,
            self._pod_grace if grace is None else float(grace),
            f"{why}, will be restarted" if restarts else why,
        )

    # ── how it is told ───────────────────────────────────────────────────────────────────────────────────────────────

    def _ended(self, exit_: Exit, started_at: datetime, reason: str, message: str) -> None:
        state: Manifest = {"exitCode": exit_.code, "reason": reason}
        if exit_.signal:
            state["signal"] = exit_.signal
        if message:
            state["message"] = message
        state["startedAt"] = timestamp(started_at)
        state["finishedAt"] = timestamp(self._machine.clock.now())
        state["containerID"] = self.record.container_id
        self.record.state, self.record.gave_up = {"terminated": state}, self._gave_up
        self._changed()

    async def _back_off(self, wait: float) -> None:
        record, name = self.record, self.record.container.name
        record.last_state = record.state
        message = f"back-off {wait:.0f}s restarting failed container={name} pod={self._pod.name}_{self._pod.namespace}"
        record.state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        self._event("BackOff", f"Back-off restarting failed container {name} in pod {self._pod.name}", warning=True)
        self._changed()
        await self._sleep(wait)
        if self._stopping.is_set():
            record.state, record.last_state = record.last_state, {}

    async def _command(self) -> Command | None:
        """The command to run; None when the container was stopped while it waited for its configuration."""
        container = self.record.container
        while not self._stopping.is_set():
            try:
                return await container_command.command_of(
                    self._machine, self._pod, container, self._facts, self._files, self._message
                )
            except ConfigError as error:
                self._wait("CreateContainerConfigError", str(error))
            except MountError as error:
                self._wait("ContainerCreating", str(error), event="FailedMount")
            except NoCommand as error:
                self._wait("CreateContainerError", str(error))
                await self._stopping.wait()
                break
            await self._sleep(CONFIG_RETRY)
        return None

    def _wait(self, reason: str, message: str, event: str = "Failed") -> None:
        waiting = {"waiting": {"reason": reason, "message": message}}
        if self.record.state != waiting:
            if "terminated" in self.record.state:
                self.record.last_state = self.record.state
            self.record.state = waiting
            self._event(event, f"Error: {message}" if event == "Failed" else message, warning=True)
            self._changed()

    async def _sleep(self, seconds: float) -> None:
        """Until the time is over or the container is stopped."""
        with suppress(TimeoutError):
            async with self._machine.clock.timeout(seconds):
                await self._stopping.wait()

    def _new_log(self) -> ContainerLog:
        """A log for this attempt; the one before stays for `--previous`, older ones go."""
        self._directory.mkdir(parents=True, exist_ok=True)
        if self.previous_log is not None:
            self.previous_log.remove()
        path = self._directory / f"{self.record.restart_count}.log"
        return ContainerLog(path, self._machine.clock, self._output_lost)

    def _output_lost(self, error: OSError) -> None:
        name, where = self.record.container.name, self._directory
        message = f"output of container {name} is lost: cannot write below {where}: {error.strerror}; make room there"
        self._event("FreeDiskSpaceFailed", message, warning=True)

    def _event(self, reason: str, message: str, *, warning: bool = False) -> None:
        recorder = self._machine.recorder
        (recorder.warning if warning else recorder.normal)(self._pod, reason, message)
