"""The replicas of one type as one reconcile sees them: which pod stands in which slot, and what became of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

import msgspec

from kfcore.api.core import Pod
from kfcore.api.jobs import ReplicaSpec
from kfcore.jobs.naming import index_of, of_type

FINAL_EXIT_CODES = range(128)
"""Exit codes that restart policy ExitCode takes as final; from 128 on (killed by a signal) the replica is retried."""


class Replicas(msgspec.Struct, frozen=True):
    """What `update_job_status` decides by: the spec of a replica type, and how its pods fare.

    `pods` maps index to pod, surplus ones included; the counts are of the wanted indexes only. A pod that is being
    deleted is neither active nor failed. `completed` holds the indexes that succeeded, also those whose pod is gone.
    """

    type: str
    spec: ReplicaSpec
    wanted: int
    pods: dict[int, Pod]
    completed: frozenset[int]
    active: int = 0
    failed_pods: tuple[Pod, ...] = msgspec.field(default=())

    @property
    def succeeded(self) -> int:
        return len(self.completed)

    @property
    def failed(self) -> int:
        return len(self.failed_pods)

    @property
    def all_succeeded(self) -> bool:
        """Whether every wanted replica succeeded; a type without replicas never does."""
        return 0 < self.wanted <= self.succeeded

    @property
    def missing(self) -> list[int]:
        """The indexes to create a pod for."""
        return [index for index in range(self.wanted) if index not in self.pods and index not in self.completed]

    @property
    def surplus(self) -> list[Pod]:
        """The pods to delete: their index is not wanted any more."""
        return [pod for index, pod in self.pods.items() if index >= self.wanted and not terminating(pod)]


def observe(
    replica_type: str,
    spec: ReplicaSpec,
    pods: Iterable[Pod],
    completed: Iterable[int],
    recreated: Collection[str] = frozenset(),
) -> Replicas:
    """The pods of one type in their slots, counted. `recreated` pods (uids) are to run again, also when they
    succeeded."""
    wanted = max(0, 1 if spec.replicas is None else spec.replicas)
    slots: dict[int, Pod] = {}
    for pod in pods:
        if of_type(pod, replica_type) and (index := index_of(pod.metadata.labels)) is not None:
            slots[index] = pod
    done = {index for index in completed if index < wanted}
    active, failed = 0, []
    for index, pod in slots.items():
        if index >= wanted:
            continue
        phase = pod.status.phase
        if phase == "Succeeded":
            if pod.metadata.uid not in recreated:
                done.add(index)
        elif not terminating(pod):
            active += phase == "Running"
            if phase == "Failed":
                failed.append(pod)
    return Replicas(replica_type, spec, wanted, slots, frozenset(done), active, tuple(failed))


def terminating(pod: Pod) -> bool:
    return pod.metadata.deletion_timestamp is not None


def exit_code(pod: Pod, container: str) -> int | None:
    """How a pod's container ended; None while it runs, or when its end is unknown (an evicted pod has no status)."""
    for status in pod.status.container_statuses:
        if status.name == container and status.state.terminated is not None:
            return status.state.terminated.exit_code
    return None


def ended_at(pod: Pod) -> datetime:
    """When the last of a pod's containers ended; the beginning of time where that is not known."""
    ends = [status.state.terminated for status in pod.status.container_statuses]
    return max((end.finished_at for end in ends if end and end.finished_at), default=datetime.min.replace(tzinfo=UTC))


def is_final(pod: Pod, spec: ReplicaSpec, container: str) -> bool:
    """Whether a failed pod's restart policy ends the replica rather than creating it again."""
    match spec.restart_policy:
        case "Never":
            return True
        case "ExitCode":
            code = exit_code(pod, container)
            return code is not None and code in FINAL_EXIT_CODES
        case _:
            return False


def is_disrupted(pod: Pod) -> bool:
    """Whether the cluster took a pod away: by eviction, preemption, or with its node."""
    return any(
        condition.type == "DisruptionTarget" and condition.status == "True" for condition in pod.status.conditions
    )


def pod_restart_policy(spec: ReplicaSpec, *, together: bool = False) -> str:
    """The restart policy that the kubelet follows; where the operator restarts (with ExitCode, or all replicas
    `together`) that is Never."""
    return "Never" if together or spec.restart_policy in ("ExitCode", "", None) else spec.restart_policy


def container_restarts(pod: Pod) -> int:
    """How often the kubelet restarted a pod's containers."""
    statuses = pod.status
    return sum(status.restart_count for status in (*statuses.init_container_statuses, *statuses.container_statuses))
