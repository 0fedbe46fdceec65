"""Persistent storage of one machine: claims and volumes come in, a directory stands behind each volume that the class
`standard` makes. `add_storage_controllers` gives a manager what it takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kfcore.api.meta import Object
from kfcore.cache.cache import Cache
from kfcore.cache.informer import Change
from kfcore.client.errors import AlreadyExists, NotFound
from kfcore.client.interface import Client
from kfcore.controller.controller import Request
from kfcore.controller.handlers import Handler
from kfcore_local.storage.claims import ClaimReconciler
from kfcore_local.storage.directories import PROVISIONER, Directories
from kfcore_local.storage.kinds import Claim, StorageClass, Volume
from kfcore_local.storage.volumes import VolumeReconciler
from kfcore_local.workloads.kinds import Pod
from kfcore_local.workloads.pods import is_finished

if TYPE_CHECKING:
    from kfcore.controller.manager import Manager

__all__ = ["add_storage_controllers", "directory_of", "make_default_class"]

DEFAULT_CLASS = "standard"


def add_storage_controllers(manager: Manager, root: Path) -> None:
    """Let `manager` bind claims; the directories of volumes are made below `root`."""
    client, cache, directories = manager.client, manager.cache, Directories(root)
    concerned = _enqueue_claims(cache)
    recorder = manager.recorder("persistentvolume-controller")
    manager.add_controller(
        ClaimReconciler(client, cache, recorder, directories),
        Claim,
        watches=[(Pod, _enqueue_claims_let_go), (Volume, concerned), (StorageClass, concerned)],
        name="persistentvolumeclaim",
    )
    manager.add_controller(
        VolumeReconciler(client, cache, recorder, directories),
        Volume,
        watches=[(Claim, _enqueue_volume)],
        name="persistentvolume",
    )


async def make_default_class(client: Client) -> None:
    """The class of claims that name none. A claim is bound when its first pod comes, as on most clusters."""
    body = {
        "metadata": {
            "name": DEFAULT_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    with suppress(AlreadyExists):
        await client.create(StorageClass, body)


async def directory_of(client: Client, namespace: str, claim: str) -> Path | None:
    """The directory of this machine that is behind a claim; None while it is not bound, or has none."""
    try:
        found = await client.get(Claim, claim, namespace)
        volume = await client.get(Volume, found.spec.volume_name) if found.is_bound else None
    except NotFound:
        return None
    return Path(volume.path) if volume is not None and volume.path else None


def _enqueue_claims_let_go(change: Change[Pod]) -> Iterable[Request]:
    """A pod that is done → its claims, one of which may wait for that to be deleted."""
    pod = change.object
    if change.new is None or is_finished(pod):
        for claim in pod.spec.claims:
            yield Request(pod.namespace, claim)


def _enqueue_claims(cache: Cache) -> Handler:
    """A volume or a class that came or changed → the claims that are not bound, or are to this volume."""
    store = cache.informer(Claim).store

    def handler(change: Change[Object]) -> Iterable[Request]:
        for claim in store.list():
            if not claim.is_bound or claim.spec.volume_name == change.object.name:
                yield Request.of(claim)

    return handler


def _enqueue_volume(change: Change[Claim]) -> Iterable[Request]:
    if change.object.spec.volume_name:
        yield Request("", change.object.spec.volume_name)
