"""HorizontalPodAutoscalers and the pods that they look at, as the autoscaler sees them."""

from __future__ import annotations

from typing import ClassVar

from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, ServerObject, Struct
from kfcore.api.resource import Resource

DOWN_WINDOW = 300
"""Seconds over which the highest recommendation counts before pods go, unless the autoscaler says otherwise."""


class TargetReference(Struct, frozen=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""


class MetricTarget(Struct, frozen=True):
    type: str = ""
    average_utilization: int | None = None
    average_value: str | int | float | None = None


class ResourceMetric(Struct, frozen=True):
    name: str = ""
    container: str = ""
    target: MetricTarget = MetricTarget()


class Metric(Struct, frozen=True):
    """What is to be kept near a target; only metrics of resources can be had here."""

    type: str = ""
    resource: ResourceMetric | None = None
    container_resource: ResourceMetric | None = None


class Policy(Struct, frozen=True):
    """So many pods, or so many percent of them, in a period."""

    type: str = "Percent"
    value: int = 100
    period_seconds: int = 15


class Rules(Struct, frozen=True):
    """How fast the number of pods may change in one direction."""

    stabilization_window_seconds: int | None = None
    select_policy: str = "Max"
    policies: list[Policy] | None = None
    tolerance: str | int | float | None = None


class Behavior(Struct, frozen=True):
    scale_up: Rules = Rules(policies=[Policy(type="Pods", value=4), Policy()])
    scale_down: Rules = Rules(policies=[Policy()])


class AutoscalerSpec(Struct, frozen=True):
    scale_target_ref: TargetReference = TargetReference()
    min_replicas: int = 1
    max_replicas: int = 1
    metrics: list[Metric] = []
    behavior: Behavior = Behavior()


class Autoscaler(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        short_names=("hpa",),
        subresources=frozenset({"status"}),
    )
    spec: AutoscalerSpec = AutoscalerSpec()
    status: Manifest = {}


class Resources(Struct, frozen=True):
    requests: dict[str, str | int | float] = {}


class Container(Struct, frozen=True):
    name: str = ""
    resources: Resources = Resources()


class PodSpec(Struct, frozen=True):
    containers: list[Container] = []


class PodStatus(Struct, frozen=True):
    phase: str = ""
    conditions: list[Manifest] = []


class ScaledPod(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Pod.resource
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def is_ready(self) -> bool:
        return any(item.get("type") == "Ready" and item.get("status") == "True" for item in self.status.conditions)
