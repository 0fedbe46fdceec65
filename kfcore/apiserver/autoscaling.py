"""HorizontalPodAutoscalers: defaults, and the older form of v1, which knows the target for CPU alone."""

from __future__ import annotations

import msgspec

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.workloads import part

_BY_PERCENT = {"type": "Percent", "value": 100, "periodSeconds": 15}
_UP: Manifest = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, _BY_PERCENT],
}
_DOWN: Manifest = {"selectPolicy": "Max", "policies": [_BY_PERCENT]}
_CPU, _METRICS = "targetCPUUtilizationPercentage", "autoscaling.alpha.kubernetes.io/metrics"


def default_autoscaler(autoscaler: Manifest) -> None:
    spec = part(autoscaler, "spec", "HorizontalPodAutoscaler")
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1
    if autoscaler["apiVersion"] == "autoscaling/v1":
        if _METRICS not in autoscaler["metadata"].get("annotations", {}):
            spec.setdefault(_CPU, 80)
        return
    if not spec.get("metrics"):
        spec["metrics"] = [_cpu_metric(80)]
    if isinstance(behavior := spec.get("behavior"), dict):
        for name, default in (("scaleUp", _UP), ("scaleDown", _DOWN)):
            behavior[name] = {**decode_json(encode_json(default)), **(behavior.get(name) or {})}


def admit_autoscaler(autoscaler: Manifest) -> None:
    first: Manifest = (
        {"currentReplicas": 0} if autoscaler["apiVersion"] == "autoscaling/v1" else {"currentMetrics": None}
    )
    autoscaler["status"] = {**first, "desiredReplicas": 0}


def _cpu_metric(percent: int) -> Manifest:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


# ── the older form ───────────────────────────────────────────────────────────────────────────────────────────────────


def from_v1(manifest: Manifest) -> Manifest:
    """A v1 autoscaler as v2 has it. Metrics besides CPU are in an annotation."""
    spec = dict(manifest.get("spec") or {})
    metadata = dict(manifest["metadata"])
    metrics = []
    if (percent := spec.pop(_CPU, None)) is not None:
        metrics.append(_cpu_metric(percent))
    annotations = dict(metadata.get("annotations", {}))
    if others := _others(annotations.pop(_METRICS, "")):
        metrics += others
        metadata["annotations"] = annotations
        if not annotations:
            del metadata["annotations"]
    if metrics:
        spec["metrics"] = metrics
    status = {"currentMetrics": None, **(manifest.get("status") or {"desiredReplicas": 0})}
    if not status.get("currentReplicas"):
        status.pop("currentReplicas", None)
    return {**manifest, "metadata": metadata, "spec": spec, "status": status}


def _others(text: str) -> list[Manifest]:
    """The metrics in an annotation; none of a malformed one."""
    try:
        found = decode_json(text.encode("utf-8", "replace")) if text else []
    except (msgspec.DecodeError, RecursionError):
        return []
    return found if isinstance(found, list) and all(isinstance(metric, dict) for metric in found) else []


def to_v1(manifest: Manifest) -> Manifest:
    spec = dict(manifest.get("spec") or {})
    others = []
    for metric in spec.pop("metrics", None) or ():
        resource = metric.get("resource")
        resource = resource if isinstance(resource, dict) else {}
        target = resource.get("target")
        percent = target.get("averageUtilization") if isinstance(target, dict) else None
        if resource.get("name") == "cpu" and percent is not None:
            spec[_CPU] = percent
        else:
            others.append(metric)
    metadata = dict(manifest["metadata"])
    if others:
        metadata["annotations"] = {**metadata.get("annotations", {}), _METRICS: encode_json(others).decode()}
    spec.pop("behavior", None)
    status = {"currentReplicas": 0, **(manifest.get("status") or {})}
    status.pop("currentMetrics", None)
    status.pop("conditions", None)
    return {**manifest, "metadata": metadata, "spec": spec, "status": status}
