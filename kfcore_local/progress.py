"""What is known of the jobs that `kfcore local run` follows: conditions, replicas, their states, restarts, last lines.
`follow.py` fills it; the board and the summary read it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

import msgspec

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource

LAST_LINES = 10
UNSCHEDULABLE = "Unschedulable"
USUAL_WAITING = frozenset({"", "ContainerCreating", "PodInitializing"})

Run = tuple[str, str, int]
"""A pod's uid, a container's name, and how often it was restarted before."""


class JobKey(msgspec.Struct, frozen=True):
    """A job that was created; `resource` is its kind."""

    resource: Resource
    namespace: str
    name: str


class Failure(msgspec.Struct, frozen=True):
    """A container that ended badly, or could not start (then without an exit code)."""

    replica: str
    exit_code: int | None
    reason: str
    message: str
    last_lines: tuple[str, ...]


class Outcome(msgspec.Struct, frozen=True):
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


class Ended(msgspec.Struct, frozen=True):
    """A container that failed; none when it is the pod."""

    container: str
    exit_code: int | None
    reason: str
    message: str


class Replica(msgspec.Struct):
    """One replica of a job, over all pods and containers that stood for it. `uid` is its latest pod's."""

    prefix: str
    uid: str = ""
    state: str = "Pending"
    pods: set[str] = msgspec.field(default_factory=set)
    container_restarts: dict[tuple[str, str], int] = msgspec.field(default_factory=dict)
    last_lines: dict[str, deque[str]] = msgspec.field(default_factory=dict)
    last_line: str = ""
    metrics: dict[str, str] = msgspec.field(default_factory=dict)
    failure: Ended | None = None

    @property
    def restarts(self) -> int:
        return max(0, len(self.pods) - 1) + sum(self.container_restarts.values())


class FollowedJob(msgspec.Struct):
    """One job; `started` is the clock's time of when following began, `containers` are those of its manifest."""

    key: JobKey
    started: float
    containers: frozenset[str]
    condition: str = "Created"
    replicas: dict[str, Replica] = msgspec.field(default_factory=dict)
    told: set[tuple[str, str, str]] = msgspec.field(default_factory=set)
    readers: dict[asyncio.Task[None], Run] = msgspec.field(default_factory=dict)
    """The logs that are being read, each with the run that it is of."""
    outcome: asyncio.Future[tuple[str, str]] = msgspec.field(default_factory=asyncio.Future)

    @property
    def metrics(self) -> dict[str, str]:
        """Of the first replica that reports any."""
        return next((replica.metrics for _, replica in self.in_order() if replica.metrics), {})

    @property
    def restarts(self) -> int:
        return sum(replica.restarts for replica in self.replicas.values())

    def in_order(self) -> list[tuple[str, Replica]]:
        """By name, with `worker-2` before `worker-10`."""
        return sorted(self.replicas.items(), key=lambda item: _natural(item[0]))

    def failures(self) -> Iterator[Failure]:
        for _, replica in self.in_order():
            if ended := replica.failure:
                last_lines = tuple(replica.last_lines.get(ended.container, ()))
                yield Failure(replica.prefix, ended.exit_code, ended.reason, ended.message, last_lines)


def pod_state(pod: Manifest) -> str:
    """In one word, as `kubectl get pods` says it."""
    status = pod.get("status") or {}
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    if status.get("reason"):
        return str(status["reason"])
    waiting = next(waiting_for(pod), None)
    return waiting[0] if waiting else str(status.get("phase") or "Pending")


def waiting_for(pod: Manifest) -> Iterator[tuple[str, str]]:
    """Reason and message of what keeps a pod from running, if it is more than that it starts."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield condition.get("reason") or UNSCHEDULABLE, condition.get("message", "")
    for name in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(name) or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            reason, message = waiting.get("reason", ""), waiting.get("message", "")
            if reason not in USUAL_WAITING or message:
                yield reason, message


def _natural(name: str) -> tuple[str, int, str]:
    head, _, tail = name.rpartition("-")
    return (head, int(tail), "") if tail.isdecimal() else (name, -1, "")
