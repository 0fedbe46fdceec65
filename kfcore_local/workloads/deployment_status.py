"""What a Deployment's status says of its rollout: counts, and the conditions Progressing, Available, ReplicaFailure.

`kubectl rollout status` reads the counts and the reason ProgressDeadlineExceeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from kfcore.api.meta import Manifest
from kfcore_local.workloads.kinds import Deployment, ReplicaSet
from kfcore_local.workloads.rolling import count, surge_and_unavailable
from kfcore_local.workloads.status import (
    condition,
    parse_time,
    timestamp,
    with_condition,
    without_condition,
    without_zeros,
)

NO_DEADLINE = 2**31 - 1


def deployment_condition(type_: str, status: str, reason: str, message: str, now: datetime) -> Manifest:
    return {
        "type": type_,
        "status": status,
        "lastUpdateTime": timestamp(now),
        "lastTransitionTime": timestamp(now),
        "reason": reason,
        "message": message,
    }


def has_deadline(deployment: Deployment) -> bool:
    return deployment.spec.progress_deadline_seconds not in (None, NO_DEADLINE)


def is_complete(deployment: Deployment, status: Manifest) -> bool:
    """All replicas are updated and available, and no old ones are left."""
    wanted = deployment.spec.replicas
    counts = (status.get("updatedReplicas", 0), status.get("replicas", 0), status.get("availableReplicas", 0))
    return counts == (wanted, wanted, wanted)


def deployment_status(
    deployment: Deployment,
    new: ReplicaSet | None,
    sets: Sequence[ReplicaSet],
    conditions: Sequence[Manifest],
    collisions: int,
    now: datetime,
) -> Manifest:
    """The status after this reconcile; `conditions` are the present ones with what this reconcile has found."""
    available = _sum(sets, "availableReplicas")
    counts = {
        "observedGeneration": deployment.metadata.generation,
        "replicas": _sum(sets, "replicas"),
        "updatedReplicas": _sum([new], "replicas") if new else 0,
        "readyReplicas": _sum(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, count(sets) - available),
    }
    status = without_zeros(counts)
    if all("terminatingReplicas" in one.status for one in sets):
        status["terminatingReplicas"] = _sum(sets, "terminatingReplicas")
    if collisions:
        status["collisionCount"] = collisions
    minimum = deployment.spec.replicas - surge_and_unavailable(deployment)[1]
    if available >= minimum:
        verdict = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        verdict = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    found = with_condition(conditions, deployment_condition("Available", *verdict, now))
    found = _progress(deployment, new, status, found, now)
    status["conditions"] = _replica_failure(new, sets, found, now)
    return status


def seconds_to_deadline(deployment: Deployment, status: Manifest, now: datetime) -> float | None:
    """When to look again, so that a rollout which nothing moves any more is told to have timed out."""
    progressing = condition(status.get("conditions") or [], "Progressing")
    if progressing is None or not has_deadline(deployment) or is_complete(deployment, status):
        return None
    if deployment.spec.paused or progressing.get("reason") in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return None
    return max(1.0, (_deadline(deployment, progressing) - now).total_seconds() + 1)


def _progress(
    deployment: Deployment, new: ReplicaSet | None, status: Manifest, conditions: list[Manifest], now: datetime
) -> list[Manifest]:
    if not has_deadline(deployment):
        return without_condition(conditions, "Progressing")
    if deployment.spec.paused:
        return conditions
    current = condition(conditions, "Progressing")
    reason = current.get("reason") if current else None
    if reason == "NewReplicaSetAvailable" and status.get("replicas", 0) == status.get("updatedReplicas", 0):
        return conditions
    what = f'ReplicaSet "{new.name}"' if new else f'Deployment "{deployment.name}"'
    if is_complete(deployment, status):
        done = deployment_condition(
            "Progressing", "True", "NewReplicaSetAvailable", f"{what} has successfully progressed.", now
        )
        return with_condition(conditions, done)
    if _moved(deployment.status, status):
        moving = deployment_condition("Progressing", "True", "ReplicaSetUpdated", f"{what} is progressing.", now)
        if current and current["status"] == "True":
            moving["lastTransitionTime"] = current["lastTransitionTime"]
        return [*without_condition(conditions, "Progressing"), moving]
    if current and reason != "NewReplicaSetAvailable" and now > _deadline(deployment, current):
        late = deployment_condition(
            "Progressing", "False", "ProgressDeadlineExceeded", f"{what} has timed out progressing.", now
        )
        return with_condition(conditions, late)
    return conditions


def _moved(old: Manifest, new: Manifest) -> bool:
    def outdated(status: Manifest) -> int:
        return int(status.get("replicas", 0)) - int(status.get("updatedReplicas", 0))

    grown = any(new.get(key, 0) > old.get(key, 0) for key in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return grown or outdated(new) < outdated(old)


def _deadline(deployment: Deployment, progressing: Manifest) -> datetime:
    return parse_time(progressing["lastUpdateTime"]) + timedelta(seconds=deployment.spec.progress_deadline_seconds or 0)


def _replica_failure(
    new: ReplicaSet | None, sets: Sequence[ReplicaSet], conditions: list[Manifest], now: datetime
) -> list[Manifest]:
    """Why pods cannot be created, taken over from the newest replica set that says so."""
    for item in ([new] if new else []) + list(sets):
        failure = condition(item.status.get("conditions") or [], "ReplicaFailure")
        if failure is not None and failure["status"] == "True":
            return with_condition(
                conditions,
                deployment_condition("ReplicaFailure", "True", failure["reason"], failure["message"], now),
            )
    return without_condition(conditions, "ReplicaFailure")


def _sum(sets: Sequence[ReplicaSet], field: str) -> int:
    return sum(int(item.status.get(field) or 0) for item in sets)
