"""The status of a job while one reconcile works it out: conditions by the shared rules, and in the end one merge patch
of what changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kfcore.api.jobs import JobCondition, JobStatus, ReplicaStatus, Restarts
from kfcore.api.meta import Manifest, rfc3339

CREATED, RUNNING, RESTARTING = "Created", "Running", "Restarting"
SUCCEEDED, FAILED, SUSPENDED = "Succeeded", "Failed", "Suspended"
_EXCLUSIVE = {RUNNING: RESTARTING, RESTARTING: RUNNING}


@dataclass(frozen=True, slots=True)
class Announcement:
    """An event to record once the status that it tells of is written."""

    type: str
    reason: str
    message: str


@dataclass(slots=True)
class Counts:
    """The replicas of one type, as the status counts them."""

    active: int = 0
    succeeded: int = 0
    failed: int = 0
    selector: str = ""

    def manifest(self) -> Manifest:
        values = {"active": self.active, "succeeded": self.succeeded, "failed": self.failed, "selector": self.selector}
        return {name: value for name, value in values.items() if value}


@dataclass(slots=True)
class StatusUpdate:
    """A job's status, to be changed. What `update_job_status` calls is `run`, `succeed`, `fail` and `restart`.

    `kind` prefixes the reasons (`PyTorchJobRunning`); `now` is the time of everything set in this reconcile.
    """

    kind: str
    old: JobStatus
    now: datetime
    conditions: list[JobCondition] = field(init=False)
    counts: dict[str, Counts] = field(init=False)
    restarts: dict[str, Restarts] = field(init=False)
    completed_indexes: dict[str, list[int]] = field(init=False)
    start_time: datetime | None = field(init=False)
    completion_time: datetime | None = field(init=False)
    last_reconcile_time: datetime | None = field(init=False)
    announcements: list[Announcement] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        old = self.old
        self.now = self.now.replace(microsecond=0)  # a Kubernetes time has whole seconds
        self.conditions = list(old.conditions)
        self.counts = {name: _counts(status) for name, status in old.replica_statuses.items()}
        self.restarts = dict(old.restarts)
        self.completed_indexes = dict(old.completed_indexes)
        self.start_time, self.completion_time = old.start_time, old.completion_time
        self.last_reconcile_time = old.last_reconcile_time

    def condition(self, type: str) -> JobCondition | None:
        return next((condition for condition in self.conditions if condition.type == type), None)

    def is_true(self, type: str) -> bool:
        return any(condition.type == type and condition.status == "True" for condition in self.conditions)

    @property
    def finished(self) -> bool:
        return self.is_true(SUCCEEDED) or self.is_true(FAILED)

    def run(self, message: str) -> None:
        """Running: the replicas that matter are at work."""
        self.set(RUNNING, message)

    def restart(self, message: str) -> None:
        """Restarting: replicas failed and are created again."""
        if self.set(RESTARTING, message):
            self.announce("Warning", f"{self.kind}{RESTARTING}", message)

    def succeed(self, message: str) -> None:
        """Succeeded, for good."""
        self._finish(SUCCEEDED, message)

    def fail(self, message: str, *, detail: str = "", event: str = "Normal", reason: str = "") -> None:
        """Failed, for good. `detail` goes into the event only; `reason` is `<Kind>Failed` unless said otherwise."""
        self._finish(FAILED, message, detail=detail, event=event, reason=reason)

    def _finish(self, type: str, message: str, *, detail: str = "", event: str = "Normal", reason: str = "") -> None:
        if self.finished or not self.set(type, message, reason=reason):
            return
        self._stop(RESTARTING)
        if self.completion_time is None:
            self.completion_time = self.now
        self.announce(event, reason or f"{self.kind}{type}", message + detail)

    def announce(self, type: str, reason: str, message: str) -> None:
        """Record an event once this status is written."""
        self.announcements.append(Announcement(type, reason, message))

    def set(self, type: str, message: str, *, status: str = "True", reason: str = "") -> bool:
        """Set a condition; whether anything changed. Failed is final: after it nothing changes.

        A condition that changes goes to the end of the list, whose last element is what `kubectl get` shows.
        """
        if self.is_true(FAILED):
            return False
        reason = reason or f"{self.kind}{type}"
        old = self.condition(type)
        if old is not None and (old.status, old.reason) == (status, reason):
            return False
        since = old.last_transition_time if old is not None and old.status == status else self.now
        dropped = {type, _EXCLUSIVE.get(type)}
        self.conditions = [condition for condition in self.conditions if condition.type not in dropped]
        if type in (FAILED, SUCCEEDED):
            self._stop(RUNNING)
        self.conditions.append(
            JobCondition(
                type=type,
                status=status,
                reason=reason,
                message=message,
                last_update_time=self.now,
                last_transition_time=since,
            )
        )
        return True

    def _stop(self, type: str) -> None:
        """Turn a condition to False where it stands; its reason, message and times keep telling when it was true."""
        self.conditions = [
            condition.model_copy(update={"status": "False"}) if condition.type == type else condition
            for condition in self.conditions
        ]

    def patch(self) -> Manifest:
        """What changed, as a merge patch of the status; empty when nothing did."""
        old = self.old
        patch: Manifest = {}
        if self.conditions != old.conditions:
            patch["conditions"] = [_dump(condition) for condition in self.conditions]
        for name, before, after in (
            ("startTime", old.start_time, self.start_time),
            ("completionTime", old.completion_time, self.completion_time),
            ("lastReconcileTime", old.last_reconcile_time, self.last_reconcile_time),
        ):
            if before != after:
                patch[name] = after and rfc3339(after)
        for name, was, now in (
            (
                "replicaStatuses",
                {name: _counts(status).manifest() for name, status in old.replica_statuses.items()},
                {name: counts.manifest() for name, counts in self.counts.items()},
            ),
            ("completedIndexes", old.completed_indexes, self.completed_indexes),
        ):
            if change := merge_diff(was, now):
                patch[name] = change
        if self.restarts != old.restarts:
            patch["restarts"] = merge_diff(
                {name: _dump(restarts) for name, restarts in old.restarts.items()},
                {name: _dump(restarts) for name, restarts in self.restarts.items()},
            )
        return patch


def _counts(status: ReplicaStatus) -> Counts:
    return Counts(status.active, status.succeeded, status.failed, status.selector)


def _dump(model: JobCondition | Restarts) -> Manifest:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def merge_diff(old: dict[str, Any], new: dict[str, Any]) -> Manifest:
    """The JSON merge patch that makes `new` out of `old`."""
    patch: Manifest = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if before == value:
            continue
        patch[name] = merge_diff(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return patch
