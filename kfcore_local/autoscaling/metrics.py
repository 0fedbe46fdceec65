"""How many pods a metric asks for: what they use against what they should, by kube-controller-manager's rules. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from kfcore.api.quantity import parse_quantity
from kfcore_local.autoscaling.kinds import Metric, ResourceMetric, ScaledPod
from kfcore_local.usage import Owner, Usage

TOLERANCE = 0.1
RESOURCES = ("cpu", "memory")


class NoMetric(Exception):
    """A metric that cannot be had; `reason` is the condition's."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class NotMeasured(NoMetric):
    """It can be had, and is not there yet."""


class Recommendation(msgspec.Struct, frozen=True):
    """`current` is the metric as a status holds it, `why` what the event says."""

    replicas: int
    current: dict[str, object]
    why: str


def recommend(metric: Metric, replicas: int, pods: Sequence[ScaledPod], usage: Mapping[Owner, Usage]) -> Recommendation:
    """How many pods `metric` asks for, where there are `replicas` of which `pods` are found. Raises NoMetric."""
    source = metric.resource or metric.container_resource
    if source is None:
        message = f"metrics of type {metric.type} have no source here: only Resource and ContainerResource do"
        raise NoMetric(f"FailedGet{metric.type or 'Unknown'}Metric", message)
    reason = "FailedGetResourceMetric" if metric.resource else "FailedGetContainerResourceMetric"
    if source.name not in RESOURCES:
        raise NoMetric(reason, f"the use of {source.name} is not measured: expected one of {', '.join(RESOURCES)}")
    alive = [pod for pod in pods if pod.status.phase not in ("Succeeded", "Failed")]
    alive = [pod for pod in alive if pod.metadata.deletion_timestamp is None]
    if not alive:
        raise NotMeasured(reason, "no pods of the target run")
    used = {pod.metadata.uid: amount for pod in alive if (amount := _used(pod, source, usage)) is not None}
    ready = [pod for pod in alive if pod.metadata.uid in used and (pod.is_ready or source.name != "cpu")]
    if not ready:
        raise NotMeasured(
            reason, f"did not receive metrics for targeted pods (pods might be unready), {len(alive)} found"
        )
    by_percent = source.target.average_utilization is not None
    targets = {pod.metadata.uid: _target(pod, source, reason) for pod in alive}
    in_use = sum(used[pod.metadata.uid] for pod in ready)
    ratio = in_use / (sum(targets[pod.metadata.uid] for pod in ready) or math.inf)
    others = [pod for pod in alive if pod not in ready]
    wanted = _replicas(ratio, replicas, in_use, ready, others, targets, used)
    average = in_use / len(ready)
    current: dict[str, object] = {"averageValue": _quantity(source.name, average)}
    if by_percent:
        percent = source.target.average_utilization or 0
        current["averageUtilization"] = round(ratio * percent)
    what = f"{source.name} {'container ' if source.container else ''}resource"
    side = "above" if ratio > 1 else "below"
    why = f"{what} utilization (percentage of request) {side} target" if by_percent else f"{what} {side} target"
    named = {"name": source.name, "current": current, **({"container": source.container} if source.container else {})}
    field = "resource" if metric.resource else "containerResource"
    return Recommendation(wanted, {"type": metric.type, field: named}, why)


def _replicas(
    ratio: float,
    replicas: int,
    in_use: float,
    ready: Sequence[ScaledPod],
    others: Sequence[ScaledPod],
    targets: Mapping[str, float],
    used: Mapping[str, float],
) -> int:
    """Of pods that were not measured nothing is known: they are assumed to be such that less changes."""
    if not others:
        return replicas if abs(1 - ratio) <= TOLERANCE else math.ceil(ratio * len(ready))
    counted = list(ready)
    if ratio < 1:
        # One without a measurement counts as using its target; one that starts says nothing yet.
        unmeasured = [pod for pod in others if pod.metadata.uid not in used]
        counted += unmeasured
        in_use += sum(targets[pod.metadata.uid] for pod in unmeasured)
    else:
        counted += others
    careful = in_use / (sum(targets[pod.metadata.uid] for pod in counted) or math.inf)
    if abs(1 - careful) <= TOLERANCE or (careful < 1) != (ratio < 1):
        return replicas
    wanted = math.ceil(careful * len(counted))
    turns_back = (careful < 1 and wanted > replicas) or (careful > 1 and wanted < replicas)
    return replicas if turns_back else wanted


def _used(pod: ScaledPod, source: ResourceMetric, usage: Mapping[Owner, Usage]) -> float | None:
    """What the pod uses; None when one of its containers was not measured."""
    total = 0.0
    names = [source.container] if source.container else [container.name for container in pod.spec.containers]
    for name in names:
        found = usage.get((pod.metadata.uid, name))
        if found is None:
            return None
        total += found.cores if source.name == "cpu" else found.memory
    return total


def _target(pod: ScaledPod, source: ResourceMetric, reason: str) -> float:
    """What the pod should use. Raises NoMetric."""
    target = source.target
    if target.average_utilization is None:
        if target.average_value is None:
            raise NoMetric(reason, "the target has neither averageUtilization nor averageValue")
        return float(parse_quantity(target.average_value))
    total = 0.0
    for container in pod.spec.containers:
        if source.container in ("", container.name):
            if source.name not in container.resources.requests:
                message = f"missing request for {source.name} in container {container.name} of Pod {pod.name}"
                raise NoMetric(reason, message)
            total += float(parse_quantity(container.resources.requests[source.name]))
    return total * target.average_utilization / 100


def _quantity(resource: str, amount: float) -> str:
    return f"{math.ceil(amount * 1000)}m" if resource == "cpu" else str(int(amount))
