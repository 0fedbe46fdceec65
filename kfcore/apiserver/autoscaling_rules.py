"""The rules of HorizontalPodAutoscalers: what is scaled, by which metrics, and how fast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.label_rules import validate_selector
from kfcore.apiserver.names import path_segment
from kfcore.apiserver.quantities import amount
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, required, unsupported

_SOURCES = {
    "ContainerResource": "containerResource", "External": "external", "Object": "object", "Pods": "pods",
    "Resource": "resource",
}  # fmt: skip
_TARGETS = ("Utilization", "Value", "AverageValue")
_SELECTIONS = ("Disabled", "Max", "Min")
_POLICIES = ("Percent", "Pods")
_LONGEST_WINDOW, _LONGEST_PERIOD = 3600, 1800
_RAW = "averageValue"


def validate_autoscaler(autoscaler: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = autoscaler["spec"]
    errors: list[FieldError] = []
    least, most = spec["minReplicas"], spec.get("maxReplicas") or 0
    if least < 1:
        errors.append(invalid_value("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        errors.append(invalid_value("spec.maxReplicas", most, "must be greater than 0"))
    if most < least:
        errors.append(invalid_value("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    errors += _validate_reference(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
    for index, metric in enumerate(spec.get("metrics") or ()):
        errors += _validate_metric(metric, f"spec.metrics[{index}]")
    for direction, rules in (spec.get("behavior") or {}).items():
        errors += _validate_scaling(rules or {}, f"spec.behavior.{direction}")
    if isinstance(percent := spec.get("targetCPUUtilizationPercentage"), int) and percent < 1:
        place = "spec.metrics[0].resource.target.averageUtilization"
        errors.append(invalid_value(place, percent, "must be greater than 0"))
    return errors


def _validate_reference(reference: Manifest, place: str) -> Iterator[FieldError]:
    for field in ("kind", "name"):
        text = reference.get(field) or ""
        if not text:
            yield required(f"{place}.{field}")
        elif why := path_segment(text):
            yield invalid_value(f"{place}.{field}", text, why)


def _validate_metric(metric: Manifest, place: str) -> Iterator[FieldError]:
    kind = metric.get("type") or ""
    if not kind:
        yield required(f"{place}.type", "must specify a metric source type")
        return
    if kind not in _SOURCES:
        yield unsupported(f"{place}.type", kind, sorted(_SOURCES))
        return
    field = _SOURCES[kind]
    if (source := metric.get(field)) is None:
        yield required(f"{place}.{field}", "must populate information for the given metric source")
    else:
        yield from _validate_source(kind, source, f"{place}.{field}")
    for other in sorted(_SOURCES.values()):
        if other != field and metric.get(other) is not None:
            yield forbidden_field(f"{place}.{other}", "must populate the given metric source only")


def _validate_source(kind: str, source: Manifest, place: str) -> Iterator[FieldError]:
    target = source.get("target") or {}
    average, whole, percent = (target.get(field) for field in (_RAW, "value", "averageUtilization"))
    if kind in ("Resource", "ContainerResource"):
        if not source.get("name"):
            yield required(f"{place}.name", "must specify a resource name")
        if kind == "ContainerResource" and not source.get("container"):
            yield required(f"{place}.container", "must specify a container")
    else:
        metric = source.get("metric") or {}
        if not metric.get("name"):
            yield required(f"{place}.metric.name", "must specify a metric name")
        yield from validate_selector(metric.get("selector"), f"{place}.metric.selector")
    if kind == "Object":
        yield from _validate_reference(source.get("describedObject") or {}, f"{place}.describedObject")
    yield from _validate_target(target, f"{place}.target")
    match kind:
        case "Resource" | "ContainerResource":
            if percent is None and average is None:
                why = "must set either a target raw value or a target utilization"
                yield required(f"{place}.target.averageUtilization", why)
            if percent is not None and average is not None:
                why = "may not set both a target raw value and a target utilization"
                yield forbidden_field(f"{place}.target.averageValue", why)
        case "Pods":
            if average is None or not (amount(str(average)) or 0) > 0:
                yield required(f"{place}.target.averageValue", "must specify a positive target averageValue")
        case "Object":
            if average is None and whole is None:
                yield required(f"{place}.target.averageValue", "must set either a target value or averageValue")
        case "External":
            if average is None and whole is None:
                why = "must set either a target value for metric or a per-pod target"
                yield required(f"{place}.target.averageValue", why)
            if average is not None and whole is not None:
                why = "may not set both a target value for metric and a per-pod target"
                yield forbidden_field(f"{place}.target.value", why)


def _validate_target(target: Manifest, place: str) -> Iterator[FieldError]:
    kind = target.get("type") or ""
    if not kind:
        yield required(f"{place}.type", "must specify a metric target type")
    elif kind not in _TARGETS:
        yield invalid_value(f"{place}.type", kind, "must be either Utilization, Value, or AverageValue")
    for field in ("value", _RAW):
        quantity: Any = target.get(field)
        if quantity is not None and not (amount(str(quantity)) or 0) > 0:
            yield invalid_value(f"{place}.{field}", quantity, "must be positive")
    percent = target.get("averageUtilization")
    if percent is not None and percent < 1:
        yield invalid_value(f"{place}.averageUtilization", percent, "must be greater than 0")


def _validate_scaling(rules: Manifest, place: str) -> Iterator[FieldError]:
    window, selection = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    if window is not None and window < 0:
        yield invalid_value(f"{place}.stabilizationWindowSeconds", window, "must be greater than or equal to zero")
    if window is not None and window > _LONGEST_WINDOW:
        why = f"must be less than or equal to {_LONGEST_WINDOW}"
        yield invalid_value(f"{place}.stabilizationWindowSeconds", window, why)
    if selection is not None and selection not in _SELECTIONS:
        yield unsupported(f"{place}.selectPolicy", selection, _SELECTIONS)
    policies = rules.get("policies") or ()
    if not policies:
        yield required(f"{place}.policies", "must specify at least one Policy")
    for index, policy in enumerate(policies):
        where = f"{place}.policies[{index}]"
        if (kind := policy.get("type") or "") not in _POLICIES:
            yield unsupported(f"{where}.type", kind, _POLICIES)
        if (value := policy.get("value") or 0) <= 0:
            yield invalid_value(f"{where}.value", value, "must be greater than zero")
        period = policy.get("periodSeconds") or 0
        if period <= 0:
            yield invalid_value(f"{where}.periodSeconds", period, "must be greater than zero")
        elif period > _LONGEST_PERIOD:
            why = f"must be less than or equal to {_LONGEST_PERIOD}"
            yield invalid_value(f"{where}.periodSeconds", period, why)
