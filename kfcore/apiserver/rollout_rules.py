"""How Deployments, StatefulSets and DaemonSets replace their pods, and what they may report of it: rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, unsupported

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
            kind = (spec.get("updateStrategy") or {}).get("type")
            if kind not in ("RollingUpdate", "OnDelete"):
                yield unsupported("spec.updateStrategy.type", kind, ("RollingUpdate", "OnDelete"))


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
        case _:
            yield invalid_value("spec.updateStrategy", update, "must be 'RollingUpdate' or 'OnDelete'")


def validate_reported(workload: Manifest, previous: Manifest | None) -> Iterator[FieldError]:
    """Counts are no less than nothing."""
    status: Any = workload.get("status") or {}
    if previous is None or status == previous.get("status"):
        return
    for field in _REPORTED:
        if isinstance(number := status.get(field), int) and number < 0:
            yield invalid_value(f"status.{field}", number, _NOT_NEGATIVE)
