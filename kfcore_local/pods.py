"""The kubelet's projection of a Pod: what it needs to run one, and nothing else of it is ever built."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from kfcore.api.core import Pod
from kfcore.api.meta import ServerObject, Struct
from kfcore.api.resource import Resource
from kfcore_local.handlers import ContainerPort, Lifecycle, Probe


class KeySelector(Struct, frozen=True):
    """One key of a ConfigMap or a Secret."""

    name: str = ""
    key: str = ""
    optional: bool = False


class FieldSelector(Struct, frozen=True):
    field_path: str = ""


class ResourceSelector(Struct, frozen=True):
    container_name: str = ""
    resource: str = ""
    divisor: str | int = "1"


class EnvSource(Struct, frozen=True):
    field_ref: FieldSelector | None = None
    resource_field_ref: ResourceSelector | None = None
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None


class EnvVar(Struct, frozen=True):
    name: str
    value: str = ""
    value_from: EnvSource | None = None


class SourceName(Struct, frozen=True):
    name: str = ""
    optional: bool = False


class EnvFrom(Struct, frozen=True):
    prefix: str = ""
    config_map_ref: SourceName | None = None
    secret_ref: SourceName | None = None


class ResourceRequirements(Struct, frozen=True):
    limits: dict[str, str | int | float] = {}
    requests: dict[str, str | int | float] = {}


class VolumeMount(Struct, frozen=True):
    name: str
    mount_path: str
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False


class HostPath(Struct, frozen=True):
    path: str = ""
    type: str = ""


class ClaimSource(Struct, frozen=True):
    claim_name: str = ""
    read_only: bool = False


class KeyToPath(Struct, frozen=True):
    key: str = ""
    path: str = ""
    mode: int | None = None


class ObjectFiles(Struct, frozen=True):
    """A ConfigMap or a Secret as files. A Secret's volume says `secretName` where a projection says `name`."""

    name: str = ""
    secret_name: str = ""
    items: list[KeyToPath] = []
    default_mode: int = 0o644
    optional: bool = False


class DownwardFile(Struct, frozen=True):
    path: str = ""
    field_ref: FieldSelector | None = None
    resource_field_ref: ResourceSelector | None = None
    mode: int | None = None


class DownwardFiles(Struct, frozen=True):
    items: list[DownwardFile] = []
    default_mode: int = 0o644


class TokenFile(Struct, frozen=True):
    audience: str = ""
    expiration_seconds: int = 3600
    path: str = ""


class Projection(Struct, frozen=True):
    config_map: ObjectFiles | None = None
    secret: ObjectFiles | None = None
    downward_api: DownwardFiles | None = msgspec.field(default=None, name="downwardAPI")
    service_account_token: TokenFile | None = None


class Projections(Struct, frozen=True):
    sources: list[Projection] = []
    default_mode: int = 0o644


class Volume(Struct, frozen=True):
    """A pod's volume; the sources that a machine can have, and the others by their names only."""

    name: str
    host_path: HostPath | None = None
    empty_dir: dict[str, Any] | None = None
    persistent_volume_claim: ClaimSource | None = None
    config_map: ObjectFiles | None = None
    secret: ObjectFiles | None = None
    downward_api: DownwardFiles | None = msgspec.field(default=None, name="downwardAPI")
    projected: Projections | None = None

    @property
    def projections(self) -> Projections | None:
        """What it shows of API objects, whichever way it is written; None for a volume that shows none."""
        if self.projected is not None:
            return self.projected
        if self.config_map is not None:
            return Projections(
                sources=[Projection(config_map=self.config_map)], default_mode=self.config_map.default_mode
            )
        if self.secret is not None:
            return Projections(sources=[Projection(secret=self.secret)], default_mode=self.secret.default_mode)
        if self.downward_api is not None:
            return Projections(
                sources=[Projection(downward_api=self.downward_api)], default_mode=self.downward_api.default_mode
            )
        return None


class SecurityContext(Struct, frozen=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: list[int] = []
    fs_group: int | None = None


class ExitCodes(Struct, frozen=True):
    operator: str = "In"
    values: list[int] = []


class RestartRule(Struct, frozen=True):
    """Whether a container is started again in spite of its policy."""

    action: str = ""
    exit_codes: ExitCodes | None = None

    def restarts(self, code: int) -> bool:
        if self.action != "Restart" or self.exit_codes is None:
            return False
        return (code in self.exit_codes.values) is (self.exit_codes.operator == "In")


class Container(Struct, frozen=True):
    name: str
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    working_dir: str = ""
    env: list[EnvVar] = []
    env_from: list[EnvFrom] = []
    resources: ResourceRequirements = ResourceRequirements()
    volume_mounts: list[VolumeMount] = []
    restart_policy: str = ""
    restart_policy_rules: list[RestartRule] = []
    ports: list[ContainerPort] = []
    startup_probe: Probe | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    lifecycle: Lifecycle = Lifecycle()
    security_context: SecurityContext = SecurityContext()
    image_pull_policy: str = "IfNotPresent"
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: str = "File"
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    target_container_name: str = ""

    @property
    def is_sidecar(self) -> bool:
        """Of an init container: it keeps running beside the others."""
        return self.restart_policy == "Always"


class HostAlias(Struct, frozen=True):
    ip: str = ""
    hostnames: list[str] = []


class DnsConfig(Struct, frozen=True):
    nameservers: list[str] = []
    searches: list[str] = []
    options: list[dict[str, str]] = []


class ReadinessGate(Struct, frozen=True):
    condition_type: str = ""


class LocalPodSpec(Struct, frozen=True):
    node_name: str = ""
    restart_policy: str = "Always"
    service_account_name: str = ""
    hostname: str = ""
    subdomain: str = ""
    share_process_namespace: bool = False
    host_network: bool = False
    host_pid: bool = msgspec.field(default=False, name="hostPID")
    host_ipc: bool = msgspec.field(default=False, name="hostIPC")
    host_aliases: list[HostAlias] = []
    dns_policy: str = "ClusterFirst"
    dns_config: DnsConfig | None = None
    active_deadline_seconds: int | None = None
    termination_grace_period_seconds: int | None = 30
    security_context: SecurityContext = SecurityContext()
    readiness_gates: list[ReadinessGate] = []
    init_containers: list[Container] = []
    containers: list[Container] = []
    ephemeral_containers: list[Container] = []
    volumes: list[Volume] = []


class EarlierContainer(Struct, frozen=True):
    """What was written of a container, by this kubelet or by the one before it."""

    name: str
    restart_count: int = 0
    container_id: str = msgspec.field(default="", name="containerID")
    state: dict[str, Any] = {}
    last_state: dict[str, Any] = {}


class LocalPodStatus(Struct, frozen=True):
    phase: str = ""
    start_time: datetime | None = None
    conditions: list[dict[str, Any]] = []
    init_container_statuses: list[EarlierContainer] = []
    container_statuses: list[EarlierContainer] = []
    ephemeral_container_statuses: list[EarlierContainer] = []


class LocalPod(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Pod.resource
    spec: LocalPodSpec = LocalPodSpec()
    status: LocalPodStatus = LocalPodStatus()

    @property
    def is_finished(self) -> bool:
        return self.status.phase in {"Succeeded", "Failed"}
