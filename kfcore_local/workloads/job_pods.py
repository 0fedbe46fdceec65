"""A batch Job's pods: counted by outcome and completion index, and made for an index."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from kfcore.api.meta import Manifest
from kfcore_local.workloads.kinds import BatchJob, Pod, created_at
from kfcore_local.workloads.pods import is_active, is_finished, is_ready, is_terminating
from kfcore_local.workloads.templates import pod_of

COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
FIRST_BACK_OFF, LONGEST_BACK_OFF = 10.0, 600.0


class JobPods(msgspec.Struct, frozen=True):
    """The pods of a job by state. `done` holds the completion indexes that succeeded, of an Indexed job."""

    active: Sequence[Pod]
    terminating: int
    ready: int
    succeeded: int
    failed: int
    done: frozenset[int]
    last_failure: datetime | None
    failures_in_a_row: int

    @property
    def back_off(self) -> float:
        """Seconds that have to pass after the last failure before a pod is replaced."""
        if not self.failures_in_a_row:
            return 0.0
        return min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2.0 ** (self.failures_in_a_row - 1))


def count_pods(job: BatchJob, pods: Sequence[Pod]) -> JobPods:
    """Counts never go back: a finished pod that somebody deletes has still succeeded or failed."""
    active = [pod for pod in pods if is_active(pod)]
    succeeded = [pod for pod in pods if pod.status.phase == "Succeeded"]
    failed = [pod for pod in pods if pod.status.phase == "Failed"]
    done = frozenset(parse_indexes(job.status.get("completedIndexes") or ""))
    if is_indexed(job):
        wanted = job.spec.completions or 0
        found = {index for pod in succeeded if (index := completion_index(pod)) is not None and index < wanted}
        done = frozenset(index for index in done | found if index < wanted)
        successes = len(done)
    else:
        successes = max(len(succeeded), int(job.status.get("succeeded") or 0))
    last_success = max(map(finished_at, succeeded), default=None)
    failures = sorted(map(finished_at, failed))
    recent = [time for time in failures if last_success is None or time > last_success]
    return JobPods(
        active=active,
        terminating=sum(is_terminating(pod) and not is_finished(pod) for pod in pods),
        ready=sum(is_ready(pod) for pod in active),
        succeeded=successes,
        failed=max(len(failed), int(job.status.get("failed") or 0)),
        done=done,
        last_failure=recent[-1] if recent else None,
        failures_in_a_row=len(recent),
    )


def is_indexed(job: BatchJob) -> bool:
    return job.spec.completion_mode == "Indexed"


def completion_index(pod: Pod) -> int | None:
    text = pod.metadata.annotations.get(COMPLETION_INDEX, "")
    return int(text) if text.isdecimal() else None


def finished_at(pod: Pod) -> datetime:
    """When a pod's last container ended."""
    ends = [
        status.state.terminated.finished_at
        for status in pod.status.container_statuses
        if status.state.terminated and status.state.terminated.finished_at
    ]
    return max(ends, default=created_at(pod.metadata))


def restarts(pods: Sequence[Pod]) -> int:
    """Container restarts, which are the failures of a job whose pods restart in place."""
    return sum(
        status.restart_count
        for pod in pods
        for status in (*pod.status.init_container_statuses, *pod.status.container_statuses)
    )


def job_pod(job: BatchJob, index: int | None) -> Manifest:
    """A new pod of the job, for a completion index of an Indexed job."""
    uid, name = job.metadata.uid, job.name
    labels = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    if index is None:
        return pod_of(job.spec.template, job, prefix=f"{name}-", labels=labels)
    pod = pod_of(job.spec.template, job, prefix=f"{name}-{index}-", labels={**labels, COMPLETION_INDEX: str(index)})
    metadata, spec = pod["metadata"], pod["spec"]
    metadata["annotations"] = {**metadata.get("annotations", {}), COMPLETION_INDEX: str(index)}
    spec.setdefault("hostname", f"{name}-{index}")
    for containers in ("initContainers", "containers"):
        if containers in spec:
            spec[containers] = [_with_index(container) for container in spec[containers]]
    return pod


def render_indexes(indexes: frozenset[int]) -> str:
    """Completion indexes as a status holds them: `0,2-4,7`."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(
        str(first) if first == last else f"{first}{',' if last == first + 1 else '-'}{last}" for first, last in runs
    )


def parse_indexes(text: str) -> set[int]:
    indexes: set[int] = set()
    for run in filter(None, text.split(",")):
        first, _, last = run.partition("-")
        indexes.update(range(int(first), int(last or first) + 1))
    return indexes


def _with_index(container: Manifest) -> Manifest:
    env = list(container.get("env") or [])
    if any(variable.get("name") == "JOB_COMPLETION_INDEX" for variable in env):
        return container
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{COMPLETION_INDEX}']"}}
    return {**container, "env": [*env, {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}]}
