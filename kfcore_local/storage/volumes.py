"""Volumes: their phase, and what becomes of one whose claim is gone: it is kept, or removed with its directory."""

from __future__ import annotations

import asyncio

from kfcore.client.errors import NotFound
from kfcore.client.interface import Client, Preconditions, Reader
from kfcore.controller.controller import Request, Result
from kfcore.controller.events import EventRecorder
from kfcore_local.storage.directories import Directories
from kfcore_local.storage.kinds import Claim, Volume
from kfcore_local.workloads.pods import RETRY_SECONDS

VOLUME_PROTECTION = "kubernetes.io/pv-protection"


class VolumeReconciler:
    """Follows what became of a volume's claim."""

    def __init__(self, client: Client, reader: Reader, recorder: EventRecorder, directories: Directories) -> None:
        self.client = client
        self.reader = reader
        self.recorder = recorder
        self.directories = directories

    async def reconcile(self, request: Request) -> Result:
        try:
            volume = await self.reader.get(Volume, request.name)
        except NotFound:
            return Result()
        claim = await self._claim(volume)
        if volume.metadata.deletion_timestamp is not None:
            if claim is None:
                await self._unprotect(volume)
            return Result()
        phase = self._phase(volume, claim)
        if phase != volume.status.phase:
            await self.client.patch(Volume, volume.name, None, {"status": {"phase": phase}}, subresource="status")
        if phase == "Released" and volume.spec.persistent_volume_reclaim_policy == "Delete":
            return await self._reclaim(volume)
        return Result()

    async def _claim(self, volume: Volume) -> Claim | None:
        """The claim that the volume belongs to; asked of the server, for a directory depends on the answer."""
        reference = volume.spec.claim_ref
        if reference is None:
            return None
        try:
            claim = await self.client.get(Claim, reference.name, reference.namespace)
        except NotFound:
            return None
        return claim if reference.names(claim) else None

    def _phase(self, volume: Volume, claim: Claim | None) -> str:
        reference = volume.spec.claim_ref
        if reference is None or not reference.uid:  # set aside for a claim that has not come yet
            return "Available"
        return "Released" if claim is None else "Bound"

    async def _reclaim(self, volume: Volume) -> Result:
        if not self.directories.has(volume):
            message = f"Error getting deleter volume plugin for volume {volume.name!r}: it was not made here"
            self.recorder.warning(volume, "VolumeFailedDelete", message)
            return Result()
        try:
            await asyncio.to_thread(self.directories.remove, volume)
        except OSError as error:
            self.recorder.warning(volume, "VolumeFailedDelete", f"cannot remove its directory: {error}")
            return Result(RETRY_SECONDS)
        try:
            await self.client.delete(Volume, volume.name, preconditions=Preconditions(uid=volume.metadata.uid))
        except NotFound:
            return Result()
        return Result()

    async def _unprotect(self, volume: Volume) -> None:
        if VOLUME_PROTECTION in volume.metadata.finalizers:
            finalizers = [finalizer for finalizer in volume.metadata.finalizers if finalizer != VOLUME_PROTECTION]
            body = {"metadata": {"finalizers": finalizers, "resourceVersion": volume.metadata.resource_version}}
            await self.client.patch(Volume, volume.name, None, body)
