"""Claims, volumes and storage classes, as the controllers of storage and the scheduler see them."""

from __future__ import annotations

from typing import ClassVar

from kfcore.api.meta import Manifest, ServerObject, Struct
from kfcore.api.resource import Resource

Quantity = str | int | float
SELECTED_NODE = "volume.kubernetes.io/selected-node"
"""The scheduler's word on a claim that waits for its first consumer."""


class ClaimResources(Struct, frozen=True):
    requests: dict[str, Quantity] = {}


class ClaimSpec(Struct, frozen=True):
    access_modes: list[str] = []
    resources: ClaimResources = ClaimResources()
    selector: Manifest | None = None
    storage_class_name: str | None = None
    volume_mode: str = "Filesystem"
    volume_name: str = ""


class ClaimStatus(Struct, frozen=True):
    phase: str = ""
    access_modes: list[str] = []
    capacity: dict[str, Quantity] = {}


class Claim(ServerObject, frozen=True):
    """A PersistentVolumeClaim."""

    resource: ClassVar[Resource] = Resource(
        "",
        "v1",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        short_names=("pvc",),
        subresources=frozenset({"status"}),
    )
    spec: ClaimSpec = ClaimSpec()
    status: ClaimStatus = ClaimStatus()

    @property
    def is_bound(self) -> bool:
        return bool(self.spec.volume_name) and self.status.phase == "Bound"


class ClaimReference(Struct, frozen=True):
    namespace: str = ""
    name: str = ""
    uid: str = ""

    def names(self, claim: Claim) -> bool:
        """Whether it means this claim; without a uid it means whichever has the name."""
        by_name = (self.namespace, self.name) == (claim.namespace, claim.name)
        return by_name and self.uid in ("", claim.metadata.uid)


class HostPath(Struct, frozen=True):
    path: str = ""


class VolumeSpec(Struct, frozen=True):
    access_modes: list[str] = []
    capacity: dict[str, Quantity] = {}
    claim_ref: ClaimReference | None = None
    host_path: HostPath | None = None
    local: HostPath | None = None
    persistent_volume_reclaim_policy: str = "Retain"
    storage_class_name: str = ""
    volume_mode: str = "Filesystem"


class VolumeStatus(Struct, frozen=True):
    phase: str = ""


class Volume(ServerObject, frozen=True):
    """A PersistentVolume."""

    resource: ClassVar[Resource] = Resource(
        "",
        "v1",
        "PersistentVolume",
        "persistentvolumes",
        False,
        short_names=("pv",),
        subresources=frozenset({"status"}),
    )
    spec: VolumeSpec = VolumeSpec()
    status: VolumeStatus = VolumeStatus()

    @property
    def path(self) -> str:
        """Where it is on this machine; empty for a volume of another kind."""
        source = self.spec.host_path or self.spec.local
        return source.path if source else ""


class StorageClass(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource(
        "storage.k8s.io", "v1", "StorageClass", "storageclasses", False, short_names=("sc",)
    )
    provisioner: str = ""
    reclaim_policy: str = "Delete"
    volume_binding_mode: str = "Immediate"

    @property
    def waits_for_consumer(self) -> bool:
        return self.volume_binding_mode == "WaitForFirstConsumer"
