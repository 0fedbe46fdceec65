"""When a job must stop or go: back-off limit, active deadline, time to live, and the delay between restarts. Plain
functions of what was observed; `JobController` acts on them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from kfcore.api.core import Pod
from kfcore.api.jobs import JobCondition, JobStatus, Restarts, RunPolicy
from kfcore.jobs.replicas import Replicas, container_restarts
from kfcore.jobs.status import FAILED, SUCCEEDED

BACKOFF_LIMIT_REACHED = "Job {name} has failed because it has reached the specified backoff limit"
DEADLINE_PASSED = "Job {name} has failed because it was active longer than specified deadline"

FIRST_DELAY, LONGEST_DELAY, CALM = 10.0, 360.0, timedelta(minutes=10)
"""Seconds before the second restart, doubling up to the longest; after a calm the count starts anew."""


def restarts_counted(replicas: Iterable[Replicas], recreated: Mapping[str, Restarts], failing: int) -> int:
    """All restarts of a job: by the kubelet, by the operator, and the `failing` pods that are about to be.

    Types with restart policy Never take no part.
    """
    total = failing
    for group in replicas:
        if group.spec.restart_policy != "Never":
            total += sum(container_restarts(pod) for pod in group.pods.values())
            if (restarts := recreated.get(group.type)) is not None:
                total += restarts.count
    return total


def backoff_limit_reached(policy: RunPolicy, restarts: int, failed: int) -> bool:
    """By restarts; a limit of 0 also by the first `failed` pod, though its restart policy be Never."""
    limit = policy.backoff_limit
    return limit is not None and restarts + (failed if limit <= 0 else 0) >= max(limit, 1)


def deadline(policy: RunPolicy, start: datetime | None) -> datetime | None:
    """When the job is failed for having been active too long."""
    if policy.active_deadline_seconds is None or start is None:
        return None
    return start + timedelta(seconds=policy.active_deadline_seconds)


def expiry(policy: RunPolicy, status: JobStatus, default_ttl: int | None) -> datetime | None:
    """When a finished job is deleted; None for never, and while it is suspended."""
    ttl = policy.ttl_seconds_after_finished if policy.ttl_seconds_after_finished is not None else default_ttl
    if ttl is None or policy.suspend:
        return None
    ended = status.completion_time
    for type in (SUCCEEDED, FAILED):
        if ended is None and (condition := status.condition(type)) is not None:
            ended = condition.last_transition_time or condition.last_update_time
    return None if ended is None else ended + timedelta(seconds=ttl)


def next_restart(restarts: Restarts | None, now: datetime) -> datetime:
    """When the failed pods of a type may be created again: at once the first time, then ever later."""
    if restarts is None or restarts.last_time is None or now - restarts.last_time > CALM:
        return now
    delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(restarts.rounds - 1, 16))
    return restarts.last_time + timedelta(seconds=delay)


def count_restart(
    restarts: Restarts | None, pods: Iterable[Pod], now: datetime, present: Collection[str], *, as_one: bool = False
) -> Restarts:
    """The record after another round that recreates `pods`: one restart each, or one for all of them.

    Pods of earlier rounds that are still `present` (uids) stay in it, so that they are not counted again.
    """
    before = restarts or Restarts()
    calm = before.last_time is None or now - before.last_time > CALM
    uids = [pod.metadata.uid for pod in pods]
    remaining = [uid for uid in before.pods if uid in present and uid not in uids]
    return Restarts(
        count=before.count + (1 if as_one else len(uids)),
        rounds=1 if calm else before.rounds + 1,
        last_time=now,
        pods=remaining + uids,
    )


def stopped_by_limit(name: str, failed: JobCondition | None) -> bool:
    """Whether a job failed by its deadline or back-off limit, which stop its running pods whatever the policy."""
    limits = (BACKOFF_LIMIT_REACHED.format(name=name), DEADLINE_PASSED.format(name=name))
    return failed is not None and failed.status == "True" and failed.message in limits


def pods_to_clean(policy: RunPolicy, pods: Iterable[Pod], *, by_limit: bool) -> list[Pod]:
    """The pods of a finished job that its clean-up policy deletes."""
    match policy.clean_pod_policy:
        case "All":
            return list(pods)
        case "Running":
            return [pod for pod in pods if pod.status.phase in ("Running", "Pending")]
        case _:
            return [pod for pod in pods if by_limit and pod.status.phase in ("Running", "Pending")]
