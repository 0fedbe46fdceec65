"""Jobs from created to finished, for `kfcore local run`: conditions and log lines go to the console as they come, and
what is left to say at the end is an `Outcome`. It only watches; whoever calls it has created the jobs.
"""

from __future__ import annotations

import asyncio
import codecs
from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from kfcore.api.core import ContainerStatus, Pod
from kfcore.api.meta import Manifest, Unstructured, controller_of, untyped
from kfcore.api.resource import Resource
from kfcore.apiserver.logs import LogOptions, PodLogs
from kfcore.client.errors import ApiError, Gone
from kfcore.client.interface import Client
from kfcore.clock import Clock
from kfcore_local.console import Console, metrics_in
from kfcore_local.hints import brief, hint
from kfcore_local.node import Node
from kfcore_local.progress import (
    LAST_LINES,
    UNSCHEDULABLE,
    USUAL_WAITING,
    Ended,
    FollowedJob,
    JobKey,
    Outcome,
    Replica,
    Run,
    pod_state,
    waiting_for,
)
from kfcore_local.scheduling.fit import NO_NODES

REPLICA_TYPE = "training.kubeflow.org/replica-type"
REPLICA_INDEX = "training.kubeflow.org/replica-index"
NODE = untyped(Node.resource)
DRAIN_SECONDS = 30.0
"""How long those of a finished job's replicas that go on may still show what they print. On a busy machine a worker
ends well after its master.
"""


class Follower:
    """Follows jobs to their end. One object is good for one call of `follow`."""

    def __init__(self, client: Client, logs: PodLogs, console: Console, clock: Clock) -> None:
        self._client = client
        self._logs = logs
        self._console = console
        self._clock = clock
        self._jobs: dict[JobKey, FollowedJob] = {}
        self._allocatable: Manifest = {}
        self._seen: set[Run] = set()
        self._group = asyncio.TaskGroup()

    async def follow(self, jobs: Mapping[JobKey, Manifest]) -> list[Outcome]:
        """Watch until every job has succeeded or failed. `jobs` has their manifests; the outcomes are in its order."""
        now = self._clock.monotonic()
        self._jobs = {
            key: FollowedJob(key, now, frozenset(_container_names(manifest))) for key, manifest in jobs.items()
        }
        async with self._group:
            watches = [self._group.create_task(self._watch_jobs(kind)) for kind in {key.resource for key in jobs}]
            watches.append(self._group.create_task(self._watch_pods()))
            ends = [self._group.create_task(self._end(job)) for job in self._jobs.values()]
            outcomes = [await end for end in ends]
            for task in watches:
                task.cancel()
        return outcomes

    @property
    def unfinished(self) -> Collection[FollowedJob]:
        """The jobs that have not come to their end yet."""
        return [job for job in self._jobs.values() if not job.outcome.done()]

    async def _watch_jobs(self, resource: Resource) -> None:
        async with aclosing(states(self._client, resource)) as found:
            async for raw in found:
                metadata = raw["metadata"]
                job = self._jobs.get(JobKey(resource, metadata.get("namespace", ""), metadata["name"]))
                if job is not None and not job.outcome.done():
                    self._show_conditions(job, raw)

    def _show_conditions(self, job: FollowedJob, raw: Manifest) -> None:
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
            job.condition = type_
            self._console.condition(job.key.name, type_, message)

    async def _watch_pods(self) -> None:
        async with aclosing(states(self._client, Pod.resource)) as found:
            async for raw in found:
                pod = msgspec.convert(raw, Pod)
                self._allocatable = self._allocatable or await self._offered()
                for job in self._jobs.values():
                    if not job.outcome.done() and _is_of(pod, job.key):
                        self._see_pod(job, pod, raw)

    async def _offered(self) -> Manifest:
        """What the machine has for pods; nothing before its node is there."""
        nodes = await self._client.list(NODE)
        return next(((node.raw.get("status") or {}).get("allocatable") or {} for node in nodes), {})

    def _see_pod(self, job: FollowedJob, pod: Pod, raw: Manifest) -> None:
        name = _replica_name(job.key, pod)
        if name not in job.replicas:
            job.replicas[name] = Replica(name if len(self._jobs) == 1 else f"{job.key.name}/{name}")
            self._console.expect([job.replicas[name].prefix])
        replica, statuses = job.replicas[name], pod.status
        replica.pods.add(pod.metadata.uid)
        replica.uid, replica.state = pod.metadata.uid, pod_state(raw)
        stopped = pod.metadata.deletion_timestamp is not None
        if not stopped:  # what ends from then on did not fail
            self._tell_why_it_waits(job, replica, raw)
            replica.failure = None
        for status in statuses.init_container_statuses:
            self._see_container(job, replica, status, raw, f"{replica.prefix}/{status.name}", stopped=stopped)
        for position, status in enumerate(statuses.container_statuses):
            suffix = f"/{status.name}" if position else ""
            self._see_container(job, replica, status, raw, replica.prefix + suffix, stopped=stopped)
        if statuses.phase == "Failed" and replica.failure is None and not stopped:
            replica.failure = Ended("", None, statuses.reason, statuses.message)

    def _tell_why_it_waits(self, job: FollowedJob, replica: Replica, raw: Manifest) -> None:
        """Once for every reason, however many replicas it keeps, with what a user can do about it."""
        for reason, message in waiting_for(raw):
            if (reason, message, "") in job.told or message == NO_NODES:  # this machine will be one in a moment
                continue
            job.told.add((reason, message, ""))
            advice = hint(message, self._allocatable)
            if reason == UNSCHEDULABLE and advice:
                text = f"{brief(message)} {advice}"
            else:
                text = f"{reason}: {message}. {advice}" if advice else f"{reason}: {message}"
            self._console.condition(job.key.name, "Waiting", f"{replica.prefix}: {text}")

    def _see_container(
        self, job: FollowedJob, replica: Replica, status: ContainerStatus, raw: Manifest, prefix: str, *, stopped: bool
    ) -> None:
        uid = raw["metadata"]["uid"]
        state = status.state
        replica.container_restarts[uid, status.name] = status.restart_count
        terminated, waiting = state.terminated or status.last_state.terminated, state.waiting
        if stopped:
            pass
        elif terminated is not None and terminated.exit_code != 0:
            ended = Ended(status.name, terminated.exit_code, terminated.reason, terminated.message)
            replica.failure = replica.failure or ended
        elif waiting is not None and waiting.reason not in USUAL_WAITING:
            replica.failure = replica.failure or Ended(status.name, None, waiting.reason, waiting.message)
        run = (uid, status.name, status.restart_count)
        if (state.running or state.terminated) and run not in self._seen:
            before = (uid, status.name, status.restart_count - 1)
            missed = status.restart_count > 0 and before not in self._seen  # it was over before anybody saw it
            self._seen |= {run, before}
            # What the operator has added (a wait for the master) speaks only when it fails.
            shown = prefix if status.name in job.containers else None
            task = self._group.create_task(self._read_logs(replica, raw, status.name, shown, missed=missed))
            job.readers[task] = run
            task.add_done_callback(job.readers.pop)

    async def _read_logs(
        self, replica: Replica, raw: Manifest, container: str, prefix: str | None, *, missed: bool
    ) -> None:
        """That of the present run, after the one of the run before where that was missed."""
        if missed:
            await self._read_log(replica, raw, container, prefix, LogOptions(previous=True))
        await self._read_log(replica, raw, container, prefix, LogOptions(follow=True))

    async def _read_log(
        self, replica: Replica, raw: Manifest, container: str, prefix: str | None, options: LogOptions
    ) -> None:
        last_lines = replica.last_lines.setdefault(container, deque(maxlen=LAST_LINES))
        try:
            async with aclosing(_lines(self._logs, raw, container, options)) as lines:
                async for line in lines:
                    last_lines.append(line)
                    if prefix is not None:
                        replica.last_line = line
                        replica.metrics |= metrics_in(line)
                        self._console.log(prefix, line)
        except ApiError as error:  # the pod went away before its log was read
            self._console.log(replica.prefix, f"(no log: {error})")

    async def _end(self, job: FollowedJob) -> Outcome:
        condition, message = await job.outcome
        seconds = self._clock.monotonic() - job.started
        # The job's end may be known before that of its pods: see them as they are now.
        going_on: set[Run] = set()
        for obj in await self._client.list(untyped(Pod.resource), job.key.namespace):
            pod = msgspec.convert(obj.raw, Pod)
            if _is_of(pod, job.key):
                self._see_pod(job, pod, obj.raw)
                going_on.update(_running(pod))
        # What has ended ends its log, which is shown whole. What still runs (a failed job's others) is let go.
        if ended := [task for task, run in job.readers.items() if run not in going_on]:
            await asyncio.wait(ended)
        if others := [task for task, run in job.readers.items() if run[1] in job.containers]:
            await asyncio.wait(others, timeout=DRAIN_SECONDS if condition == "Succeeded" else 0.5)
        for task in job.readers:
            task.cancel()
        self._console.condition(job.key.name, condition, message)
        return Outcome(
            job.key,
            condition,
            message,
            seconds,
            job.metrics,
            job.restarts,
            tuple(job.failures()) if condition == "Failed" else (),
        )


def _is_of(pod: Pod, job: JobKey) -> bool:
    owner = controller_of(pod)
    return (
        owner is not None
        and (owner.api_version, owner.kind) == (job.resource.api_version, job.resource.kind)
        and (pod.namespace, owner.name) == (job.namespace, job.name)
    )


def _running(pod: Pod) -> Iterator[Run]:
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        if status.state.running:
            yield pod.metadata.uid, status.name, status.restart_count


def _container_names(manifest: Any, key: str = "") -> Iterator[str]:
    """Of all containers that a manifest describes, wherever its templates are."""
    if isinstance(manifest, dict):
        for name, item in manifest.items():
            yield from _container_names(item, name)
    elif isinstance(manifest, list):
        for item in manifest:
            if key in ("containers", "initContainers") and isinstance(item, dict):
                yield str(item.get("name"))
            yield from _container_names(item)


def _replica_name(job: JobKey, pod: Pod) -> str:
    """`worker-1`: by its labels, or what its name adds to the job's."""
    labels = pod.metadata.labels
    if REPLICA_TYPE in labels and REPLICA_INDEX in labels:
        return f"{labels[REPLICA_TYPE]}-{labels[REPLICA_INDEX]}"
    return pod.name.removeprefix(f"{job.name}-")


async def states(client: Client, resource: Resource) -> AsyncGenerator[Manifest, None]:
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


async def _lines(logs: PodLogs, raw: Manifest, container: str, options: LogOptions) -> AsyncGenerator[str, None]:
    """A container's log from its start to its end, line by line; also the last line when it lacks its line feed."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    rest = ""
    chunks = logs.read(raw, container, options)
    async for chunk in chunks:
        *lines, rest = (rest + decode(chunk)).split("\n")
        for line in lines:
            yield line
    if rest:
        yield rest
