"""Jobs from created to finished, for `kfcore local run`: conditions and log lines go to the console as they come, and
what is left to say at the end is an `Outcome`. It only watches; whoever calls it has created the jobs.
"""

from __future__ import annotations

import asyncio
import codecs
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec

from kfcore.api.core import ContainerStatus, Pod
from kfcore.api.meta import Manifest, Unstructured, controller_of, untyped
from kfcore.api.resource import Resource
from kfcore.apiserver.logs import LogOptions, PodLogs
from kfcore.client.errors import ApiError, Gone
from kfcore.client.interface import Client
from kfcore.clock import Clock
from kfcore_local.console import Console, metrics_in

REPLICA_TYPE = "training.kubeflow.org/replica-type"
REPLICA_INDEX = "training.kubeflow.org/replica-index"
LAST_LINES = 10
DRAIN_SECONDS = 2.0
"""How long a finished job's log may take to arrive whole."""

USUAL_WAITING = frozenset({"", "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True)
class JobKey:
    """A job that was created; `resource` is its kind."""

    resource: Resource
    namespace: str
    name: str


@dataclass(frozen=True)
class Failure:
    """A container that ended badly, or could not start (then without an exit code)."""

    replica: str
    exit_code: int | None
    reason: str
    message: str
    last_lines: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """How a job ended. `metrics` are the last that it reported; `restarts` counts those of all replicas."""

    job: JobKey
    condition: str
    message: str
    seconds: float
    metrics: dict[str, str]
    restarts: int
    failures: tuple[Failure, ...]

    @property
    def succeeded(self) -> bool:
        return self.condition == "Succeeded"


@dataclass
class _Replica:
    """What is known of one replica of a job, over all pods and containers that stood for it."""

    pods: set[str] = field(default_factory=set)
    restarts: dict[tuple[str, str], int] = field(default_factory=dict)
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    metrics: dict[str, str] = field(default_factory=dict)
    failure: tuple[int | None, str, str] | None = None


@dataclass
class _Job:
    key: JobKey
    started: float
    replicas: dict[str, _Replica] = field(default_factory=dict)
    told: set[tuple[str, str, str]] = field(default_factory=set)
    readers: set[asyncio.Task[None]] = field(default_factory=set)
    outcome: asyncio.Future[tuple[str, str]] = field(default_factory=asyncio.Future)


class Follower:
    """Follows jobs to their end. One object is good for one call of `follow`."""

    def __init__(self, client: Client, logs: PodLogs, console: Console, clock: Clock) -> None:
        self._client = client
        self._logs = logs
        self._console = console
        self._clock = clock
        self._jobs: dict[JobKey, _Job] = {}
        self._seen: set[tuple[str, str, int]] = set()
        self._group = asyncio.TaskGroup()

    async def follow(self, keys: Sequence[JobKey]) -> list[Outcome]:
        """Watch until every job has succeeded or failed; the outcomes in the order of `keys`."""
        self._jobs = {key: _Job(key, self._clock.monotonic()) for key in keys}
        async with self._group:
            watches = [self._group.create_task(self._watch_jobs(kind)) for kind in {key.resource for key in keys}]
            watches.append(self._group.create_task(self._watch_pods()))
            ends = [self._group.create_task(self._end(job)) for job in self._jobs.values()]
            outcomes = [await end for end in ends]
            for task in watches:
                task.cancel()
        return outcomes

    async def _watch_jobs(self, resource: Resource) -> None:
        async with aclosing(_states(self._client, resource)) as states:
            async for raw in states:
                metadata = raw["metadata"]
                job = self._jobs.get(JobKey(resource, metadata.get("namespace", ""), metadata["name"]))
                if job is not None and not job.outcome.done():
                    self._show_conditions(job, raw)

    def _show_conditions(self, job: _Job, raw: Manifest) -> None:
        for condition in (raw.get("status") or {}).get("conditions") or []:
            if condition.get("status") != "True":
                continue
            type_, message = condition["type"], condition.get("message", "")
            told = (type_, condition.get("lastTransitionTime", ""), condition.get("reason", ""))
            if told in job.told:
                continue
            job.told.add(told)
            if type_ in ("Succeeded", "Failed"):  # told after the last line of its log
                job.outcome.set_result((type_, message))
                return
            self._console.condition(job.key.name, type_, message)

    async def _watch_pods(self) -> None:
        async with aclosing(_states(self._client, Pod.resource)) as states:
            async for raw in states:
                pod = msgspec.convert(raw, Pod)
                owner = controller_of(pod)
                if owner is None:
                    continue
                for job in self._jobs.values():
                    kind = job.key.resource
                    if (owner.api_version, owner.kind, pod.namespace, owner.name) == (
                        kind.api_version,
                        kind.kind,
                        job.key.namespace,
                        job.key.name,
                    ):
                        self._see_pod(job, pod, raw)

    def _see_pod(self, job: _Job, pod: Pod, raw: Manifest) -> None:
        name = _replica_name(job.key, pod)
        replica = job.replicas.setdefault(name, _Replica())
        replica.pods.add(pod.metadata.uid)
        prefix = name if len(self._jobs) == 1 else f"{job.key.name}/{name}"
        self._console.expect([prefix])
        statuses = pod.status
        if job.outcome.done() or pod.metadata.deletion_timestamp is not None:
            return  # what ends from here on was stopped, it did not fail
        replica.failure = None
        for status in statuses.init_container_statuses:
            self._see_container(job, replica, status, raw, f"{prefix}/{status.name}")
        for position, status in enumerate(statuses.container_statuses):
            self._see_container(job, replica, status, raw, prefix if position == 0 else f"{prefix}/{status.name}")
        if statuses.phase == "Failed" and replica.failure is None:
            replica.failure = (None, statuses.reason, statuses.message)

    def _see_container(self, job: _Job, replica: _Replica, status: ContainerStatus, raw: Manifest, prefix: str) -> None:
        uid = raw["metadata"]["uid"]
        state = status.state
        replica.restarts[uid, status.name] = status.restart_count
        terminated, waiting = state.terminated or status.last_state.terminated, state.waiting
        if terminated is not None and terminated.exit_code != 0:
            replica.failure = replica.failure or (terminated.exit_code, terminated.reason, terminated.message)
        elif waiting is not None and waiting.reason not in USUAL_WAITING:
            replica.failure = replica.failure or (None, waiting.reason, waiting.message)
        incarnation = (uid, status.name, status.restart_count)
        if (state.running or state.terminated) and incarnation not in self._seen:
            self._seen.add(incarnation)
            task = self._group.create_task(self._read_log(replica, raw, status.name, prefix))
            job.readers.add(task)
            task.add_done_callback(job.readers.discard)

    async def _read_log(self, replica: _Replica, raw: Manifest, container: str, prefix: str) -> None:
        try:
            async with aclosing(_lines(self._logs, raw, container)) as lines:
                async for line in lines:
                    replica.last_lines.append(line)
                    replica.metrics |= metrics_in(line)
                    self._console.log(prefix, line)
        except ApiError as error:  # the pod went away before its log was read
            self._console.log(prefix, f"(no log: {error})")

    async def _end(self, job: _Job) -> Outcome:
        condition, message = await job.outcome
        seconds = self._clock.monotonic() - job.started
        # The replicas that have ended end their logs; those that still run (a failed job's others) are let go.
        if job.readers:
            await asyncio.wait(set(job.readers), timeout=DRAIN_SECONDS if condition == "Succeeded" else 0.5)
            for task in job.readers:
                task.cancel()
        self._console.condition(job.key.name, condition, message)
        names = sorted(job.replicas)
        failures = [
            Failure(name, *failure, tuple(job.replicas[name].last_lines))
            for name in names
            if condition == "Failed" and (failure := job.replicas[name].failure)
        ]
        return Outcome(
            job.key,
            condition,
            message,
            seconds,
            next((job.replicas[name].metrics for name in names if job.replicas[name].metrics), {}),
            sum(len(replica.pods) - 1 + sum(replica.restarts.values()) for replica in job.replicas.values()),
            tuple(failures),
        )


def _replica_name(job: JobKey, pod: Pod) -> str:
    """`worker-1`: by its labels, or what its name adds to the job's."""
    labels = pod.metadata.labels
    if REPLICA_TYPE in labels and REPLICA_INDEX in labels:
        return f"{labels[REPLICA_TYPE]}-{labels[REPLICA_INDEX]}"
    return pod.name.removeprefix(f"{job.name}-")


async def _states(client: Client, resource: Resource) -> AsyncGenerator[Manifest, None]:
    """Every object of a kind as it is and as it becomes, deletions left out, forever."""
    kind: type[Unstructured] = untyped(resource)
    while True:
        listed = await client.list(kind)
        for obj in listed:
            yield obj.raw
        version = listed.resource_version
        try:
            while True:
                async with aclosing(client.watch(kind, resource_version=version)) as events:  # type: ignore[type-var]
                    async for event in events:
                        version = event.object.metadata.resource_version
                        if event.type in ("ADDED", "MODIFIED"):
                            yield event.object.raw
        except Gone:
            continue


async def _lines(logs: PodLogs, raw: Manifest, container: str) -> AsyncGenerator[str, None]:
    """A container's log from its start to its end, line by line; also the last line when it lacks its line feed."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    rest = ""
    chunks = logs.read(raw, container, LogOptions(follow=True))
    async for chunk in chunks:
        *lines, rest = (rest + decode(chunk)).split("\n")
        for line in lines:
            yield line
    if rest:
        yield rest
