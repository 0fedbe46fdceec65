"""Pods and nodes, as the scheduler sees them."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, ServerObject, Struct
from kfcore.api.resource import Resource
from kfcore_local.node import Node

Quantities = dict[str, str | int | float]


class Resources(Struct, frozen=True):
    requests: Quantities = {}


class ContainerPort(Struct, frozen=True):
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")
    protocol: str = "TCP"


class Container(Struct, frozen=True):
    resources: Resources = Resources()
    restart_policy: str = ""
    ports: list[ContainerPort] = []


class Toleration(Struct, frozen=True):
    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: float | None = None


class SpreadConstraint(Struct, frozen=True):
    """How evenly pods of a selector are to lie over the domains of a node label."""

    max_skew: int = 1
    topology_key: str = ""
    when_unsatisfiable: str = "DoNotSchedule"
    label_selector: Manifest | None = None
    min_domains: int = 1
    node_affinity_policy: str = "Honor"
    node_taints_policy: str = "Ignore"
    match_label_keys: list[str] = []


class ClaimSource(Struct, frozen=True):
    claim_name: str = ""


class Volume(Struct, frozen=True):
    persistent_volume_claim: ClaimSource | None = None


class PodSpec(Struct, frozen=True):
    node_name: str = ""
    host_network: bool = False
    scheduler_name: str = "default-scheduler"
    scheduling_gates: list[Manifest] = []
    priority: int = 0
    preemption_policy: str = ""
    node_selector: dict[str, str] = {}
    affinity: Manifest = {}
    tolerations: list[Toleration] = []
    topology_spread_constraints: list[SpreadConstraint] = []
    containers: list[Container] = []
    init_containers: list[Container] = []
    overhead: Quantities = {}
    volumes: list[Volume] = []


class PodStatus(Struct, frozen=True):
    phase: str = ""
    conditions: list[Manifest] = []


class SchedulablePod(ServerObject, frozen=True):
    """A Pod with everything that decides where it may run."""

    resource: ClassVar[Resource] = Pod.resource
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def is_finished(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def is_initialized(self) -> bool:
        """Whether its init containers are done."""
        return any(
            item.get("type") == "Initialized" and item.get("status") == "True" for item in self.status.conditions
        )


class Taint(Struct, frozen=True):
    key: str = ""
    value: str = ""
    effect: str = ""


class NodeSpec(Struct, frozen=True):
    unschedulable: bool = False
    taints: list[Taint] = []


class NodeStatus(Struct, frozen=True):
    allocatable: Quantities = {}
    conditions: list[Manifest] = []


class SchedulableNode(ServerObject, frozen=True):
    """A Node with everything that decides what may run on it."""

    resource: ClassVar[Resource] = Node.resource
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def is_ready(self) -> bool:
        return any(item.get("type") == "Ready" and item.get("status") == "True" for item in self.status.conditions)
