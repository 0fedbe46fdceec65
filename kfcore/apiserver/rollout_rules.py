"""How Deployments, StatefulSets and DaemonSets replace their pods, and what they may report of it: rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, required, unsupported

_NOT_NEGATIVE = "must be greater than or equal to 0"
_PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)
_REPORTED = (
    "replicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "currentReplicas",
    "unavailableReplicas",
)
_DAEMONS = (
    "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "updatedNumberScheduled",
    "numberAvailable", "numberUnavailable",
)  # fmt: skip
_OF_REPLICA_SETS = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
_PARTS = {
    "Deployment": ("updatedReplicas", "readyReplicas", "availableReplicas"),
    "StatefulSet": ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"),
    "ReplicaSet": _OF_REPLICA_SETS,
    "ReplicationController": _OF_REPLICA_SETS,
}
"""What is counted of the replicas that there are."""


def validate_rollout(workload: Manifest) -> Iterator[FieldError]:
    spec = workload["spec"]
    for field in ("minReadySeconds", "revisionHistoryLimit"):
        if isinstance(number := spec.get(field), int) and number < 0:
            yield invalid_value(f"spec.{field}", number, _NOT_NEGATIVE)
    match workload["kind"]:
        case "Deployment":
            yield from _validate_deployment(spec)
        case "StatefulSet":
            yield from _validate_stateful_set(spec)
        case "DaemonSet":
            update = spec.get("updateStrategy") or {}
            if (kind := update.get("type")) not in ("RollingUpdate", "OnDelete"):
                yield unsupported("spec.updateStrategy.type", kind, ("RollingUpdate", "OnDelete"))
            elif kind == "RollingUpdate":
                yield from _validate_daemons(update.get("rollingUpdate") or {}, "spec.updateStrategy.rollingUpdate")


def _validate_deployment(spec: Manifest) -> Iterator[FieldError]:
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate")
    match strategy.get("type"):
        case "Recreate":
            if rolling is not None:
                why = "may not be specified when strategy `type` is 'Recreate'"
                yield forbidden_field("spec.strategy.rollingUpdate", why)
        case "RollingUpdate":
            yield from _validate_rolling(rolling or {}, "spec.strategy.rollingUpdate")
        case _:
            yield unsupported("spec.strategy", strategy, ("Recreate", "RollingUpdate"))
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if isinstance(deadline, int):
        if deadline < 0:
            yield invalid_value("spec.progressDeadlineSeconds", deadline, _NOT_NEGATIVE)
        if deadline <= ready:
            yield invalid_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def _validate_rolling(rolling: Manifest, place: str) -> Iterator[FieldError]:
    for field in ("maxUnavailable", "maxSurge"):
        yield from number_or_percent(rolling.get(field, 0), f"{place}.{field}")
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    if unavailable in (0, "0%") and surge in (0, "0%"):
        yield invalid_value(f"{place}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0")
    if isinstance(unavailable, str) and re.fullmatch("[0-9]+%", unavailable) and int(unavailable[:-1]) > 100:
        yield invalid_value(f"{place}.maxUnavailable", unavailable, "must not be greater than 100%")


def _validate_daemons(rolling: Manifest, place: str) -> Iterator[FieldError]:
    """One of the two says how many pods are replaced at a time."""
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    for field, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
        yield from number_or_percent(value, f"{place}.{field}")
        if isinstance(value, str) and re.fullmatch("[0-9]+%", value) and int(value[:-1]) > 100:
            yield invalid_value(f"{place}.{field}", value, "must not be greater than 100%")
    some = [value not in (0, "0%") for value in (unavailable, surge)]
    if all(some):
        yield invalid_value(f"{place}.maxSurge", surge, "may not be set when maxUnavailable is non-zero")
    elif not any(some):
        yield required(f"{place}.maxUnavailable", "cannot be 0 when maxSurge is 0")


def number_or_percent(value: Any, place: str) -> Iterator[FieldError]:
    """What is wrong with `3` or `"25%"`."""
    if isinstance(value, str):
        if not re.fullmatch("[0-9]+%", value):
            yield invalid_value(place, value, _PERCENT)
    elif isinstance(value, int) and value < 0:
        yield invalid_value(place, value, _NOT_NEGATIVE)


def _validate_stateful_set(spec: Manifest) -> Iterator[FieldError]:
    if (policy := spec.get("podManagementPolicy")) not in ("OrderedReady", "Parallel"):
        yield invalid_value("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    update = spec.get("updateStrategy") or {}
    match update.get("type"):
        case "OnDelete":
            if update.get("rollingUpdate") is not None:
                why = "only allowed for updateStrategy 'RollingUpdate'"
                yield invalid_value("spec.updateStrategy.rollingUpdate", update["rollingUpdate"], why)
        case "RollingUpdate":
            rolling = update.get("rollingUpdate") or {}
            if isinstance(partition := rolling.get("partition"), int) and partition < 0:
                yield invalid_value("spec.updateStrategy.rollingUpdate.partition", partition, _NOT_NEGATIVE)
            if (most := rolling.get("maxUnavailable")) is not None:
                yield from number_or_percent(most, "spec.updateStrategy.rollingUpdate.maxUnavailable")
        case _:
            yield invalid_value("spec.updateStrategy", update, "must be 'RollingUpdate' or 'OnDelete'")
    kept = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        if (policy := kept.get(field, "Retain")) not in ("Delete", "Retain"):
            yield unsupported(f"spec.persistentVolumeClaimRetentionPolicy.{field}", policy, ("Delete", "Retain"))
    if isinstance(start := (spec.get("ordinals") or {}).get("start"), int) and start < 0:
        yield invalid_value("spec.ordinals.start", start, _NOT_NEGATIVE)


def validate_reported(workload: Manifest, previous: Manifest | None) -> Iterator[FieldError]:
    """Counts are no less than nothing, and no more than there are."""
    status: Any = workload.get("status") or {}
    if previous is None or status == previous.get("status"):
        return
    for field in (*_REPORTED, *_DAEMONS):
        if isinstance(number := status.get(field), int) and number < 0:
            yield invalid_value(f"status.{field}", number, _NOT_NEGATIVE)
    if workload["kind"] == "DaemonSet":
        return
    there = status.get("replicas") or 0
    for field in _PARTS.get(workload["kind"], ()):
        if (number := status.get(field) or 0) > there:
            yield invalid_value(f"status.{field}", number, "cannot be greater than status.replicas")
    ready, available = status.get("readyReplicas") or 0, status.get("availableReplicas") or 0
    if available > ready:
        yield invalid_value("status.availableReplicas", available, "cannot be greater than readyReplicas")
