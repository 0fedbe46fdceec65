"""A pod's claims: whether they are there and bound, and which of them wait for a node to be chosen."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kfcore.cache.store import Store
from kfcore_local.scheduling.kinds import SchedulablePod
from kfcore_local.storage.kinds import Claim, StorageClass

UNBOUND = "pod has unbound immediate PersistentVolumeClaims"


class Claims(msgspec.Struct, frozen=True):
    """`problem`: what keeps the pod from a node. `waiting`: claims that are bound once a node is chosen."""

    problem: str = ""
    waiting: Sequence[Claim] = ()


def claims_of(pod: SchedulablePod, claims: Store[Claim], classes: Store[StorageClass]) -> Claims:
    waiting = []
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is None:
            continue
        name = volume.persistent_volume_claim.claim_name
        claim = claims.get(pod.namespace, name)
        if claim is None:
            return Claims(f'persistentvolumeclaim "{name}" not found')
        if claim.metadata.deletion_timestamp is not None:
            return Claims(f'persistentvolumeclaim "{name}" is being deleted')
        if claim.is_bound:
            continue
        storage_class = classes.get("", claim.spec.storage_class_name or "")
        if claim.spec.volume_name or storage_class is None or not storage_class.waits_for_consumer:
            return Claims(UNBOUND)
        waiting.append(claim)
    return Claims(waiting=waiting)
