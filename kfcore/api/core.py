"""The built-in kinds that a job operator reads and writes, reduced to the fields that kfcore uses."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from kfcore.api.meta import ServerObject, Struct
from kfcore.api.resource import Resource


class ContainerStateWaiting(Struct, frozen=True):
    reason: str = ""
    message: str = ""


class ContainerStateRunning(Struct, frozen=True):
    started_at: datetime | None = None


class ContainerStateTerminated(Struct, frozen=True):
    exit_code: int
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None


class ContainerState(Struct, frozen=True):
    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(Struct, frozen=True):
    name: str
    ready: bool = False
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodCondition(Struct, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""


def _is_notable(condition: PodCondition) -> bool:
    return condition.type == "DisruptionTarget" or (condition.status != "True" and condition.message != "")


class PodStatus(Struct, frozen=True):
    """Of the conditions, those that tell of a trouble: disruptions, and what is not true for a reason in words."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    start_time: datetime | None = None
    conditions: tuple[PodCondition, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()

    def __post_init__(self) -> None:
        # All conditions would be a third of a pod in memory; of a pod that is well, none says anything.
        if self.conditions:
            msgspec.structs.force_setattr(self, "conditions", tuple(filter(_is_notable, self.conditions)))


class PodSpec(Struct, frozen=True):
    node_name: str = ""
    restart_policy: str = ""


class Pod(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource(
        "", "v1", "Pod", "pods", short_names=("po",), subresources=frozenset({"status"})
    )
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class ServicePort(Struct, frozen=True):
    name: str = ""
    port: int = 0
    protocol: str = ""


class ServiceSpec(Struct, frozen=True):
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    selector: dict[str, str] = {}
    ports: list[ServicePort] = []


class Service(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource(
        "", "v1", "Service", "services", short_names=("svc",), subresources=frozenset({"status"})
    )
    spec: ServiceSpec = ServiceSpec()


class ObjectReference(Struct, frozen=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""


class EventSource(Struct, frozen=True):
    component: str = ""
    host: str = ""


class Event(ServerObject, frozen=True):
    """A core/v1 Event: what `kubectl describe` shows."""

    resource: ClassVar[Resource] = Resource("", "v1", "Event", "events", short_names=("ev",))
    involved_object: ObjectReference = ObjectReference()
    type: str = ""
    reason: str = ""
    message: str = ""
    count: int = 0
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
    source: EventSource = EventSource()
    reporting_component: str = ""
    reporting_instance: str = ""


class LeaseSpec(Struct, frozen=True):
    holder_identity: str = ""
    lease_duration_seconds: int = 0
    acquire_time: datetime | None = None
    renew_time: datetime | None = None
    lease_transitions: int = 0


class Lease(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource("coordination.k8s.io", "v1", "Lease", "leases")
    spec: LeaseSpec = LeaseSpec()


class Namespace(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource(
        "", "v1", "Namespace", "namespaces", False, short_names=("ns",), subresources=frozenset({"status"})
    )


class CustomResourceDefinition(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        False,
        short_names=("crd", "crds"),
        subresources=frozenset({"status"}),
    )
