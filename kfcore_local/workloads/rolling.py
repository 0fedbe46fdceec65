"""The arithmetic of a Deployment: how many replicas each of its replica sets should have now. Makes no request."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from kfcore_local.workloads.kinds import Deployment, ReplicaSet, RollingUpdateDeployment, created_at

REVISION = "deployment.kubernetes.io/revision"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"


def surge_and_unavailable(deployment: Deployment) -> tuple[int, int]:
    """`maxSurge` and `maxUnavailable` in pods. Both zero would never move, so one may then be unavailable."""
    spec = deployment.spec
    if spec.strategy.type != "RollingUpdate":
        return 0, 0
    rolling = spec.strategy.rolling_update or RollingUpdateDeployment()
    surge = resolve(rolling.max_surge, spec.replicas, up=True)
    unavailable = resolve(rolling.max_unavailable, spec.replicas, up=False)
    if not surge and not unavailable:
        unavailable = 1
    return surge, min(unavailable, spec.replicas)


def wanted_total(deployment: Deployment) -> int:
    """Pods that may exist at once: the value of the max-replicas annotation."""
    return deployment.spec.replicas + surge_and_unavailable(deployment)[0]


def by_age(sets: Iterable[ReplicaSet]) -> list[ReplicaSet]:
    return sorted(sets, key=lambda item: (created_at(item.metadata), item.name))


def count(sets: Iterable[ReplicaSet]) -> int:
    return sum(item.spec.replicas for item in sets)


def available(item: ReplicaSet) -> int:
    return int(item.status.get("availableReplicas") or 0)


def new_set_replicas(deployment: Deployment, sets: Sequence[ReplicaSet], present: int) -> int:
    """Replicas of the newest set, which has `present` of all that `sets` have, without exceeding the surge."""
    wanted = deployment.spec.replicas
    if deployment.spec.strategy.type != "RollingUpdate" or present > wanted:
        return wanted
    room = wanted_total(deployment) - count(sets)
    return present + max(0, min(room, wanted - present))


def old_sets_scaled_down(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> dict[str, int]:
    """Which old sets shrink to what, so that enough pods stay available: pods that do not work go first."""
    minimum = deployment.spec.replicas - surge_and_unavailable(deployment)[1]
    new_unavailable = new.spec.replicas - available(new)
    removable = count(old) + new.spec.replicas - minimum - new_unavailable
    replicas = {item.name: item.spec.replicas for item in old}
    for item in by_age(old):
        broken = min(removable, replicas[item.name] - available(item))
        if broken > 0:
            replicas[item.name] -= broken
            removable -= broken
    spare = sum(map(available, old)) + available(new) - minimum
    for item in by_age(old):
        taken = min(spare, replicas[item.name])
        if taken > 0:
            replicas[item.name] -= taken
            spare -= taken
    return {item.name: replicas[item.name] for item in old if replicas[item.name] != item.spec.replicas}


def proportional(deployment: Deployment, sets: Sequence[ReplicaSet]) -> dict[str, int]:
    """Sizes of the active sets after the Deployment was scaled in the middle of a rollout: each by its share."""
    allowed = wanted_total(deployment) if deployment.spec.replicas else 0
    change = allowed - count(sets)
    newest_first = by_age(sets)[::-1] if change > 0 else by_age(sets)
    order = sorted(newest_first, key=lambda item: item.spec.replicas, reverse=True)
    sizes: dict[str, int] = {}
    added = 0
    for item in order:
        share = 0
        if change:
            former = number_in(item, MAXIMUM) or count(sets)
            # Halves go up; Python's own rounding gives them to the even number.
            wanted = math.floor(item.spec.replicas * allowed / former + 0.5) if former else item.spec.replicas
            fraction = wanted - item.spec.replicas
            left = change - added
            share = min(max(fraction, 0), left) if change > 0 else max(min(fraction, 0), left)
        sizes[item.name] = item.spec.replicas + share
        added += share
    if order:
        first = order[0].name
        sizes[first] = max(0, sizes[first] + change - added)
    return sizes


def number_in(item: ReplicaSet, annotation: str) -> int:
    """The number in an annotation; 0 where there is none, or something else."""
    try:
        return int(item.metadata.annotations.get(annotation) or 0)
    except ValueError:
        return 0


def resolve(value: int | str, total: int, *, up: bool) -> int:
    if isinstance(value, str) and value.endswith("%"):
        share = int(value[:-1]) * total / 100
        return math.ceil(share) if up else math.floor(share)
    return int(value)
