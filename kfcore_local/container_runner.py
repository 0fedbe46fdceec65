"""One container of a pod over all its attempts: environment, start, exit, restart policy and back-off. The order of the
pod's containers, its status and its end are `pod_worker.py`; the process itself is `container.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kfcore.api.meta import Manifest
from kfcore.client.interface import Client
from kfcore.clock import Clock
from kfcore.controller.events import EventRecorder
from kfcore_local import environment
from kfcore_local.backoff import RestartBackoff
from kfcore_local.container import Command, ContainerProcess, Exit, StartFailed
from kfcore_local.container_log import ContainerLog, Selection
from kfcore_local.environment import ConfigError, PodFacts
from kfcore_local.gpus import Gpus
from kfcore_local.images import Image, ImageMap
from kfcore_local.pod_network import PodNetwork
from kfcore_local.pod_status import ContainerRecord, timestamp
from kfcore_local.pods import LocalPod
from kfcore_local.sandboxes import Place, Sandboxes, Wanted
from kfcore_local.volume_contents import MountError

CONFIG_RETRY = 5.0
MESSAGE_LINES, MESSAGE_BYTES = 80, 2048
SHUTDOWN_GRACE = 2.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What every container of this node shares."""

    client: Client
    clock: Clock
    recorder: EventRecorder
    sandboxes: Sandboxes
    node_name: str
    bin_directory: Path
    working_directory: Path
    images: ImageMap
    variables: Mapping[str, str]
    gpus: Gpus

    @property
    def network(self) -> PodNetwork:
        return self.sandboxes.network

    @property
    def host_ip(self) -> str:
        return self.sandboxes.network.host_ip


class ContainerRunner:
    """Runs a container until its policy says that it is done, or `stop` is called. `record` says how it is doing."""

    def __init__(
        self,
        machine: Machine,
        pod: LocalPod,
        record: ContainerRecord,
        facts: PodFacts,
        directory: Path,
        changed: Callable[[], None],
    ) -> None:
        self.record = record
        self.log: ContainerLog | None = None
        self.previous_log: ContainerLog | None = None
        self.started = asyncio.Event()
        self._machine = machine
        self._pod = pod
        self._facts = facts
        self._directory = directory
        self._changed = changed
        self._process: ContainerProcess | None = None
        self._started_command: Command | None = None
        self._stopping = asyncio.Event()
        self._grace = 0.0
        self._ran_for = 0.0

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

    @property
    def running(self) -> tuple[ContainerProcess, Command] | None:
        """The container's process and the command that it was started with, while it runs."""
        if self._process is None or self._started_command is None:
            return None
        return self._process, self._started_command

    async def run(self) -> None:
        ended = self.record.state.get("terminated")
        if ended is not None and not self._restarts(Exit(ended["exitCode"])):
            return  # before this kubelet
        backoff = RestartBackoff()
        while not self._stopping.is_set():
            exit_ = await self._attempt()
            if exit_ is None or self._stopping.is_set() or not self._restarts(exit_):
                return
            wait = backoff.next(self._ran_for)
            if wait:
                await self._back_off(wait)

    async def stop(self, grace: float) -> None:
        """End the container, and start it no more."""
        self._grace = grace
        self._stopping.set()
        if self._process is not None:
            self._machine.recorder.normal(self._pod, "Killing", f"Stopping container {self.record.container.name}")
            await self._process.stop(grace, self._machine.clock)

    async def kill(self) -> None:
        """End the container at once, also while it has its grace."""
        self._stopping.set()
        if self._process is not None:
            await self._process.kill()

    def _restarts(self, exit_: Exit) -> bool:
        record, policy = self.record, self._pod.spec.restart_policy
        if record.is_init:
            return record.container.is_sidecar or (exit_.code != 0 and policy != "Never")
        return policy == "Always" or (policy == "OnFailure" and exit_.code != 0)

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
        started_at = self._machine.clock.now()
        record.container_id = f"kfcore://{self._pod.metadata.uid}/{container.name}/{record.restart_count}"
        try:
            self.previous_log, self.log = self.log, self._new_log()
        except OSError as error:
            return self._not_started(started_at, f"cannot write its log: {error}")
        self._event("Created", f"Created container: {container.name}")
        try:
            process = await ContainerProcess.start(
                command, self.log, record.container_id, stdin=container.stdin, tty=container.tty
            )
        except (StartFailed, OSError) as error:
            self.log.close()
            return self._not_started(started_at, str(error))
        self._started_command = process.inside
        return await self._watch(process, started_at)

    def _not_started(self, started_at: datetime, why: str) -> Exit:
        name = self.record.container.name
        self._event("Failed", f"Error: failed to start container {name!r}: {why}", warning=True)
        self._ended(Exit(128), started_at, "StartError", f"failed to start container: {why}")
        return Exit(128)

    async def _watch(self, process: ContainerProcess, started_at: datetime) -> Exit:
        record, clock = self.record, self._machine.clock
        assert self.log is not None
        self._process = process
        record.state = {"running": {"startedAt": timestamp(started_at)}}
        self._event("Started", f"Started container {record.container.name}")
        self.started.set()
        self._changed()
        begun = clock.monotonic()
        try:
            if self._stopping.is_set():
                exit_ = await process.stop(self._grace, clock)
            else:
                exit_ = await process.wait()
        except asyncio.CancelledError:
            # kfcore itself ends: as when a machine is shut down, there is a moment to put things away.
            await asyncio.shield(process.stop(min(SHUTDOWN_GRACE, self._pod_grace), clock))
            raise
        finally:
            self._process = None
            self.log.close()
        self._ran_for = clock.monotonic() - begun
        message = ""
        if exit_.code and record.container.termination_message_policy == "FallbackToLogsOnError":
            message = await _last_lines(self.log)
        self._ended(exit_, started_at, "Completed" if exit_.code == 0 else "Error", message)
        return exit_

    @property
    def _pod_grace(self) -> float:
        grace = self._pod.spec.termination_grace_period_seconds
        return 30.0 if grace is None else float(grace)

    def _ended(self, exit_: Exit, started_at: datetime, reason: str, message: str) -> None:
        state: Manifest = {"exitCode": exit_.code, "reason": reason}
        if exit_.signal:
            state["signal"] = exit_.signal
        if message:
            state["message"] = message
        state["startedAt"] = timestamp(started_at)
        state["finishedAt"] = timestamp(self._machine.clock.now())
        state["containerID"] = self.record.container_id
        self.record.state = {"terminated": state}
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
        machine, container = self._machine, self.record.container
        while not self._stopping.is_set():
            try:
                variables = await environment.variables(machine.client, self._pod, container, self._facts)
                image = machine.images.find(container.image)
                place = await self._place(image, variables.values)
            except (ConfigError, MountError) as error:
                self._wait("CreateContainerConfigError", str(error))
                await self._sleep(CONFIG_RETRY)
                continue
            if not container.command and (image is None or not image.command):
                self._wait("CreateContainerError", environment.missing_command(container))
                await self._stopping.wait()
                break
            values = machine.network.rewrite_variables(self._pod, variables)
            defaults = {"KFCORE_POD_IP": self._facts.pod_ip, "NB_PREFIX": "/"}
            start = [environment.expand(part, {**defaults, **values}) for part in image.command] if image else []
            given = [
                machine.network.rewrite_argument(self._pod, part)
                for part in environment.command_line(container, values)
            ]
            argv = given if container.command else [*start, *given]
            base = environment.base_environment(machine.bin_directory, image.bin_directory if image else None)
            gpus = machine.gpus.variables(self._pod.metadata.uid, container.name, container.resources.limits)
            env = {**base, **machine.variables, **gpus, **self._pod_environment(), **values}
            return Command(argv, env, place.working_directory, place.launcher)
        return None

    async def _place(self, image: Image | None, variables: Mapping[str, str]) -> Place:
        """Where to start it. Raises MountError."""
        machine = self._machine
        pod_directory = self._directory.parent
        wanted = Wanted(
            self._pod, self.record.container, image, pod_directory, {}, variables, machine.working_directory
        )
        return await machine.sandboxes.place(wanted)

    def _pod_environment(self) -> dict[str, str]:
        return {
            "HOSTNAME": self._pod.spec.hostname or self._pod.name,
            **self._machine.network.pod_variables(self._pod),
        }

    def _wait(self, reason: str, message: str) -> None:
        waiting = {"waiting": {"reason": reason, "message": message}}
        if self.record.state != waiting:
            if "terminated" in self.record.state:
                self.record.last_state = self.record.state
            self.record.state = waiting
            self._event("Failed", f"Error: {message}", warning=True)
            self._changed()

    async def _sleep(self, seconds: float) -> None:
        """Until the time is over or the container is stopped."""
        timer = self._machine.clock.call_later(seconds, (over := asyncio.Event()).set)
        waits = [asyncio.ensure_future(over.wait()), asyncio.ensure_future(self._stopping.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            for wait in waits:
                wait.cancel()

    def _new_log(self) -> ContainerLog:
        """A log for this attempt; the one before stays for `--previous`, older ones go."""
        self._directory.mkdir(parents=True, exist_ok=True)
        if self.previous_log is not None:
            self.previous_log.path.unlink(missing_ok=True)
        return ContainerLog(self._directory / f"{self.record.restart_count}.log", self._machine.clock)

    def _event(self, reason: str, message: str, *, warning: bool = False) -> None:
        recorder = self._machine.recorder
        (recorder.warning if warning else recorder.normal)(self._pod, reason, message)


async def _last_lines(log: ContainerLog) -> str:
    chunks = [chunk async for chunk in log.read(Selection(tail=MESSAGE_LINES))]
    return b"".join(chunks)[-MESSAGE_BYTES:].decode(errors="replace")
