"""The kinds that the workload controllers read, projected to what they use. Templates stay raw JSON, so that a pod gets
every field of its template; statuses stay raw, so that a change can be told from what is there.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from kfcore.api.core import Pod as CorePod
from kfcore.api.core import PodCondition as CorePodCondition
from kfcore.api.core import PodStatus as CorePodStatus
from kfcore.api.core import Service as CoreService
from kfcore.api.meta import Manifest, ObjectMeta, ServerObject, Struct
from kfcore.api.resource import Resource

_SCALED = frozenset({"status", "scale"})
_STATUS = frozenset({"status"})


class ContainerPort(Struct, frozen=True):
    name: str = ""
    container_port: int = 0
    protocol: str = "TCP"


class Container(Struct, frozen=True):
    name: str = ""
    ports: list[ContainerPort] = []


class ClaimSource(Struct, frozen=True):
    claim_name: str = ""


class Volume(Struct, frozen=True):
    persistent_volume_claim: ClaimSource | None = None


class PodSpec(Struct, frozen=True):
    node_name: str = ""
    hostname: str = ""
    subdomain: str = ""
    restart_policy: str = "Always"
    containers: list[Container] = []
    init_containers: list[Manifest] = []
    volumes: list[Volume] = []
    affinity: Manifest = {}

    @property
    def claims(self) -> list[str]:
        """The names of the persistent volume claims that the pod uses."""
        return [volume.persistent_volume_claim.claim_name for volume in self.volumes if volume.persistent_volume_claim]


class PodCondition(CorePodCondition, frozen=True):
    last_transition_time: datetime | None = None


class PodStatus(CorePodStatus, frozen=True):
    """With the conditions in full: readiness gates and endpoints need their times and reasons."""

    conditions: tuple[PodCondition, ...] = ()

    def __post_init__(self) -> None: ...


class Pod(ServerObject, frozen=True):
    """A pod with what endpoints need of it: names of ports and of the host."""

    resource: ClassVar[Resource] = CorePod.resource
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class ReplicaSetSpec(Struct, frozen=True):
    replicas: int = 1
    min_ready_seconds: int = 0
    selector: Manifest = {}
    template: Manifest = {}


class ReplicaSet(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource(
        "apps", "v1", "ReplicaSet", "replicasets", short_names=("rs",), subresources=_SCALED
    )
    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: Manifest = {}


class RollingUpdateDeployment(Struct, frozen=True):
    max_unavailable: int | str = "25%"
    max_surge: int | str = "25%"


class DeploymentStrategy(Struct, frozen=True):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdateDeployment | None = None


class DeploymentSpec(Struct, frozen=True):
    replicas: int = 1
    min_ready_seconds: int = 0
    revision_history_limit: int | None = 10
    progress_deadline_seconds: int | None = 600
    paused: bool = False
    strategy: DeploymentStrategy = DeploymentStrategy()
    selector: Manifest = {}
    template: Manifest = {}


class Deployment(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource(
        "apps", "v1", "Deployment", "deployments", short_names=("deploy",), subresources=_SCALED
    )
    spec: DeploymentSpec = DeploymentSpec()
    status: Manifest = {}


class RollingUpdateStatefulSet(Struct, frozen=True):
    partition: int = 0


class StatefulSetUpdateStrategy(Struct, frozen=True):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdateStatefulSet | None = None


class StatefulSetOrdinals(Struct, frozen=True):
    start: int = 0


class ClaimRetentionPolicy(Struct, frozen=True):
    when_deleted: str = "Retain"
    when_scaled: str = "Retain"


class StatefulSetSpec(Struct, frozen=True):
    replicas: int = 1
    min_ready_seconds: int = 0
    service_name: str = ""
    pod_management_policy: str = "OrderedReady"
    revision_history_limit: int | None = 10
    update_strategy: StatefulSetUpdateStrategy = StatefulSetUpdateStrategy()
    ordinals: StatefulSetOrdinals | None = None
    persistent_volume_claim_retention_policy: ClaimRetentionPolicy | None = None
    selector: Manifest = {}
    template: Manifest = {}
    volume_claim_templates: list[Manifest] = []


class StatefulSet(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource(
        "apps", "v1", "StatefulSet", "statefulsets", short_names=("sts",), subresources=_SCALED
    )
    spec: StatefulSetSpec = StatefulSetSpec()
    status: Manifest = {}


class RollingUpdateDaemonSet(Struct, frozen=True):
    max_unavailable: int | str = 1


class DaemonSetUpdateStrategy(Struct, frozen=True):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdateDaemonSet | None = None


class DaemonSetSpec(Struct, frozen=True):
    min_ready_seconds: int = 0
    revision_history_limit: int | None = 10
    update_strategy: DaemonSetUpdateStrategy = DaemonSetUpdateStrategy()
    selector: Manifest = {}
    template: Manifest = {}


class DaemonSet(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource(
        "apps", "v1", "DaemonSet", "daemonsets", short_names=("ds",), subresources=_STATUS
    )
    spec: DaemonSetSpec = DaemonSetSpec()
    status: Manifest = {}


class ControllerRevision(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource("apps", "v1", "ControllerRevision", "controllerrevisions")
    data: Manifest = {}
    revision: int = 0


class PersistentVolumeClaim(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource(
        "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", short_names=("pvc",), subresources=_STATUS
    )


class BatchJobSpec(Struct, frozen=True):
    parallelism: int = 1
    completions: int | None = None
    backoff_limit: int = 6
    completion_mode: str = "NonIndexed"
    active_deadline_seconds: int | None = None
    ttl_seconds_after_finished: int | None = None
    suspend: bool = False
    managed_by: str = "kubernetes.io/job-controller"
    selector: Manifest = {}
    template: Manifest = {}


class BatchJob(ServerObject, frozen=True):
    """A batch/v1 Job; named so, because a `Job` in kfcore is one of many replica types."""

    resource: ClassVar[Resource] = Resource("batch", "v1", "Job", "jobs", subresources=_STATUS)
    spec: BatchJobSpec = BatchJobSpec()
    status: Manifest = {}


class CronJobSpec(Struct, frozen=True):
    schedule: str = ""
    time_zone: str | None = None
    starting_deadline_seconds: int | None = None
    concurrency_policy: str = "Allow"
    suspend: bool = False
    job_template: Manifest = {}
    successful_jobs_history_limit: int | None = 3
    failed_jobs_history_limit: int | None = 1


class CronJob(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource(
        "batch", "v1", "CronJob", "cronjobs", short_names=("cj",), subresources=_STATUS
    )
    spec: CronJobSpec = CronJobSpec()
    status: Manifest = {}


class ServicePort(Struct, frozen=True):
    name: str = ""
    port: int = 0
    target_port: int | str | None = None
    protocol: str = "TCP"
    app_protocol: str = ""


class ServiceSpec(Struct, frozen=True):
    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    selector: dict[str, str] = {}
    ports: list[ServicePort] = []
    publish_not_ready_addresses: bool = False


class Service(ServerObject, frozen=True):
    """A service with what it needs to find its endpoints."""

    resource: ClassVar[Resource] = CoreService.resource
    spec: ServiceSpec = ServiceSpec()


class Endpoints(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource("", "v1", "Endpoints", "endpoints", short_names=("ep",))
    subsets: list[Manifest] = []


class EndpointSlice(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
    address_type: str = ""
    endpoints: list[Manifest] | None = None
    ports: list[Manifest] | None = None


class PodDisruptionBudgetSpec(Struct, frozen=True):
    min_available: int | str | None = None
    max_unavailable: int | str | None = None
    selector: Manifest | None = None


class PodDisruptionBudget(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource(
        "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", short_names=("pdb",), subresources=_STATUS
    )
    spec: PodDisruptionBudgetSpec = PodDisruptionBudgetSpec()
    status: Manifest = {}


def created_at(metadata: ObjectMeta) -> datetime:
    """When an object was created; an object that the server answered with always says so."""
    assert metadata.creation_timestamp is not None
    return metadata.creation_timestamp
