"""Which pods of a job are created again, how that is counted, and when: written into the status first, so that an
operator that dies in between neither forgets a restart nor counts it twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from kfcore.api.core import Pod
from kfcore.api.jobs import Job
from kfcore.jobs import run_policy
from kfcore.jobs.annotations import ignores_disruptions, restarts_together
from kfcore.jobs.replicas import Replicas, is_disrupted, is_final, terminating
from kfcore.jobs.status import StatusUpdate


class Failures(msgspec.Struct, frozen=True):
    """The failed pods of a job, by what is to become of them; lists of (replicas, pod) and, by type, of pods.

    `final` ones end the job unless its framework tolerates them; `retried` ones are created again, and of these the
    `uncounted` ones are not in the status yet; `disrupted` ones are created again without counting.
    """

    final: list[tuple[Replicas, Pod]] = msgspec.field(default_factory=list)
    retried: dict[str, list[Pod]] = msgspec.field(default_factory=dict)
    uncounted: dict[str, list[Pod]] = msgspec.field(default_factory=dict)
    disrupted: dict[str, list[Pod]] = msgspec.field(default_factory=dict)

    @property
    def newly_failed(self) -> list[Pod]:
        """The pods that count and are not in the status yet."""
        return [pod for _, pod in self.final] + [pod for pods in self.uncounted.values() for pod in pods]


def failures_of(job: Job[Any], replicas: Mapping[str, Replicas], status: StatusUpdate, container_name: str) -> Failures:
    """Sort the failed pods."""
    failures = Failures()
    counted = recreated_uids(status)
    spared = ignores_disruptions(job)
    for name, group in replicas.items():
        for pod in group.failed_pods:
            if spared and is_disrupted(pod):
                failures.disrupted.setdefault(name, []).append(pod)
            elif is_final(pod, group.spec, container_name):
                failures.final.append((group, pod))
            else:
                failures.retried.setdefault(name, []).append(pod)
                if pod.metadata.uid not in counted:
                    failures.uncounted.setdefault(name, []).append(pod)
    return failures


def restarts_so_far(job: Job[Any], replicas: Mapping[str, Replicas], status: StatusUpdate, failures: Failures) -> int:
    """All restarts of the job, those included that are about to be."""
    about_to_be = sum(map(len, failures.uncounted.values()))
    if restarts_together(job):
        about_to_be = min(about_to_be, 1)
    return run_policy.restarts_counted(replicas.values(), status.restarts, about_to_be)


def count_restarts(
    job: Job[Any], replicas: Mapping[str, Replicas], status: StatusUpdate, failures: Failures
) -> tuple[list[Pod], datetime | None]:
    """Write down what is about to be created again. Returns the failed pods of it, and when others may follow."""
    retry_at: datetime | None = None
    counted: list[Pod] = []
    for name, pods in failures.uncounted.items():
        record = status.restarts.get(name)
        due = run_policy.next_restart(record, status.now)
        if due > status.now:
            retry_at = due if retry_at is None else min(due, retry_at)
            continue
        present = {pod.metadata.uid for pod in replicas[name].pods.values()}
        if restarts_together(job):
            everyone = [pod for group in replicas.values() for pod in group.pods.values() if not terminating(pod)]
            status.restarts[name] = run_policy.count_restart(record, everyone, status.now, present, as_one=True)
            status.completed_indexes.clear()
            failed = [pod for pods in failures.uncounted.values() for pod in pods]
            return failed, None
        status.restarts[name] = run_policy.count_restart(record, pods, status.now, present)
        counted += pods
    return counted, retry_at


def to_recreate(replicas: Mapping[str, Replicas], status: StatusUpdate, failures: Failures) -> list[Pod]:
    """The pods whose restart is written down, or need not be."""
    uids = recreated_uids(status)
    uids.update(pod.metadata.uid for pods in failures.disrupted.values() for pod in pods)
    pods: Iterable[Pod] = (pod for group in replicas.values() for pod in group.pods.values())
    return [pod for pod in pods if pod.metadata.uid in uids and not terminating(pod)]


def recreated_uids(status: StatusUpdate) -> set[str]:
    """The pods that the last rounds of restarts replace."""
    return {uid for record in status.restarts.values() for uid in record.pods}
