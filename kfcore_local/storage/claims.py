"""Claims: each is bound to a volume that is there, or to one made for it; none goes while a pod uses it."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from kfcore.api.meta import Manifest
from kfcore.api.quantity import parse_quantity
from kfcore.client.errors import AlreadyExists, NotFound
from kfcore.client.interface import Client, Reader
from kfcore.client.selectors import LabelSelector
from kfcore.controller.controller import Request, Result
from kfcore.controller.events import EventRecorder
from kfcore_local.storage.directories import PROVISIONED_BY, PROVISIONER, Directories
from kfcore_local.storage.kinds import SELECTED_NODE, Claim, StorageClass, Volume
from kfcore_local.workloads.kinds import Pod
from kfcore_local.workloads.pods import RETRY_SECONDS, is_finished

BIND_COMPLETED = {"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"}
CLAIM_PROTECTION = "kubernetes.io/pvc-protection"


class ClaimReconciler:
    """Binds claims."""

    def __init__(self, client: Client, reader: Reader, recorder: EventRecorder, directories: Directories) -> None:
        self.client = client
        self.reader = reader
        self.recorder = recorder
        self.directories = directories

    async def reconcile(self, request: Request) -> Result:
        try:
            claim = await self.reader.get(Claim, request.name, request.namespace)
        except NotFound:
            return Result()
        if claim.metadata.deletion_timestamp is not None:
            await self._let_go(claim)
            return Result()
        if CLAIM_PROTECTION not in claim.metadata.finalizers:
            finalizers = [*claim.metadata.finalizers, CLAIM_PROTECTION]
            body = {"metadata": {"finalizers": finalizers, "resourceVersion": claim.metadata.resource_version}}
            claim = await self.client.patch(Claim, claim.name, claim.namespace, body)
        if claim.spec.volume_name:
            return await self._bind_to_its_volume(claim)
        found = await self._find_volume(claim) or await self._provision(claim)
        if isinstance(found, Result):
            return found
        await self._bind(claim, found)
        return Result()

    async def _bind_to_its_volume(self, claim: Claim) -> Result:
        """The volume that the claim names itself, or was bound to before."""
        try:
            volume = await self.client.get(Volume, claim.spec.volume_name)
        except NotFound:
            if claim.status.phase == "Bound":
                await self._set_status(claim, {"phase": "Lost", "capacity": None, "accessModes": None})
                message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
                self.recorder.warning(claim, "ClaimLost", message)
            return Result()
        reference = volume.spec.claim_ref
        if reference is not None and not reference.names(claim):
            message = f'volume "{volume.name}" already bound to a different claim.'
            self.recorder.warning(claim, "FailedBinding", message)
            return Result(RETRY_SECONDS)
        await self._bind(claim, volume)
        return Result()

    # ── finding and making ───────────────────────────────────────────────────────────────────────────────────────────

    async def _find_volume(self, claim: Claim) -> Volume | None:
        """The smallest that will do; one that was set aside for the claim before all others."""
        fitting = [volume for volume in await self.reader.list(Volume) if _fits(volume, claim)]
        return min(fitting, key=_preference, default=None)

    async def _provision(self, claim: Claim) -> Volume | Result:
        name = claim.spec.storage_class_name
        if not name:
            message = "no persistent volumes available for this claim and no storage class is set"
            self.recorder.normal(claim, "FailedBinding", message)
            return Result()
        try:
            storage_class = await self.reader.get(StorageClass, name)
        except NotFound:
            message = f'storageclass.storage.k8s.io "{name}" not found; `kubectl get storageclass` lists those that are'
            self.recorder.warning(claim, "ProvisioningFailed", message)
            return Result()
        if storage_class.waits_for_consumer and SELECTED_NODE not in claim.metadata.annotations:
            message = "waiting for first consumer to be created before binding"
            self.recorder.normal(claim, "WaitForFirstConsumer", message)
            return Result()
        if storage_class.provisioner != PROVISIONER:
            self.recorder.normal(
                claim,
                "ExternalProvisioning",
                f"Waiting for a volume to be created either by the external provisioner '{storage_class.provisioner}' "
                "or manually by the system administrator. If volume creation is delayed, please verify that the "
                "provisioner is running and correctly registered.",
            )
            return Result()
        return await self._make_volume(claim, storage_class)

    async def _make_volume(self, claim: Claim, storage_class: StorageClass) -> Volume | Result:
        name = f"pvc-{claim.metadata.uid}"
        failure = ""
        if claim.spec.volume_mode != "Filesystem":
            failure = f"a volume of mode {claim.spec.volume_mode} cannot be a directory: use Filesystem"
        else:
            try:
                path = await asyncio.to_thread(self.directories.make, name)
            except OSError as error:
                failure = f"cannot make its directory: {error}"
        if failure:
            message = f'failed to provision volume with StorageClass "{storage_class.name}": {failure}'
            self.recorder.warning(claim, "ProvisioningFailed", message)
            return Result(RETRY_SECONDS)
        body = {
            "metadata": {
                "name": name,
                "annotations": {PROVISIONED_BY: PROVISIONER},
                "finalizers": ["kubernetes.io/pv-protection"],
            },
            "spec": {
                "accessModes": claim.spec.access_modes,
                "capacity": {"storage": claim.spec.resources.requests["storage"]},
                "claimRef": _reference(claim),
                "hostPath": {"path": str(path), "type": "DirectoryOrCreate"},
                "persistentVolumeReclaimPolicy": storage_class.reclaim_policy,
                "storageClassName": storage_class.name,
            },
        }
        try:
            volume = await self.client.create(Volume, body)
        except AlreadyExists:  # an earlier try came this far
            return await self.client.get(Volume, name)
        self.recorder.normal(claim, "ProvisioningSucceeded", f"Successfully provisioned volume {name}")
        return volume

    # ── binding and letting go ───────────────────────────────────────────────────────────────────────────────────────

    async def _bind(self, claim: Claim, volume: Volume) -> None:
        if volume.spec.claim_ref is None or not volume.spec.claim_ref.uid:
            # A claim that was faster has changed the version: then this is a conflict, and there is another try.
            metadata = {"resourceVersion": volume.metadata.resource_version}
            body: Manifest = {"metadata": metadata, "spec": {"claimRef": _reference(claim)}}
            volume = await self.client.patch(Volume, volume.name, None, body)
        if not claim.spec.volume_name or not BIND_COMPLETED.items() <= claim.metadata.annotations.items():
            body = {"metadata": {"annotations": BIND_COMPLETED}, "spec": {"volumeName": volume.name}}
            claim = await self.client.patch(Claim, claim.name, claim.namespace, body)
        wanted = {"phase": "Bound", "accessModes": volume.spec.access_modes, "capacity": dict(volume.spec.capacity)}
        if not claim.is_bound or claim.status.capacity != volume.spec.capacity:
            await self._set_status(claim, wanted)

    async def _set_status(self, claim: Claim, status: Manifest) -> None:
        await self.client.patch(Claim, claim.name, claim.namespace, {"status": status}, subresource="status")

    async def _let_go(self, claim: Claim) -> None:
        """Take the protection off a claim that is being deleted, once no pod works with it."""
        if CLAIM_PROTECTION not in claim.metadata.finalizers:
            return
        for pod in await self.client.list(Pod, claim.namespace):
            if pod.spec.node_name and not is_finished(pod) and claim.name in pod.spec.claims:
                return
        finalizers = [finalizer for finalizer in claim.metadata.finalizers if finalizer != CLAIM_PROTECTION]
        body = {"metadata": {"finalizers": finalizers, "resourceVersion": claim.metadata.resource_version}}
        await self.client.patch(Claim, claim.name, claim.namespace, body)


def _fits(volume: Volume, claim: Claim) -> bool:
    spec, reference = volume.spec, volume.spec.claim_ref
    if volume.metadata.deletion_timestamp is not None:
        return False
    if reference is not None:
        return reference.names(claim)
    selector = LabelSelector.from_spec(claim.spec.selector) if claim.spec.selector else None
    return (
        spec.storage_class_name == (claim.spec.storage_class_name or "")
        and spec.volume_mode == claim.spec.volume_mode
        and set(claim.spec.access_modes) <= set(spec.access_modes)
        and _size(volume) >= parse_quantity(claim.spec.resources.requests.get("storage", 0))
        and (selector is None or selector.matches(volume.metadata.labels))
    )


def _preference(volume: Volume) -> tuple[bool, Decimal, str]:
    return volume.spec.claim_ref is None, _size(volume), volume.name


def _size(volume: Volume) -> Decimal:
    return parse_quantity(volume.spec.capacity.get("storage", 0))


def _reference(claim: Claim) -> Manifest:
    identity = {"namespace": claim.namespace, "name": claim.name, "uid": claim.metadata.uid}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **identity}
