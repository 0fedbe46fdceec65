"""ControllerRevisions: the versions of the template of a StatefulSet or DaemonSet, by which its pods are told apart."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress

import msgspec

from kfcore.api.meta import Manifest, owner_reference
from kfcore.client.errors import AlreadyExists, NotFound
from kfcore.client.interface import Client, Reader
from kfcore.client.selectors import LabelSelector
from kfcore_local.workloads.kinds import ControllerRevision, DaemonSet, StatefulSet
from kfcore_local.workloads.pods import claim
from kfcore_local.workloads.templates import short_hash, with_labels

REVISION_LABEL = "controller-revision-hash"
Revised = StatefulSet | DaemonSet


class Revisions(msgspec.Struct, frozen=True):
    """`current` is what pods below the partition are made from, `update` the present template."""

    current: ControllerRevision
    update: ControllerRevision
    history: Sequence[ControllerRevision]
    collisions: int


async def find_revisions(client: Client, reader: Reader, owner: Revised, selector: LabelSelector) -> Revisions:
    """The revisions of a workload; the one of its present template is created, or becomes the latest again."""
    claimed = await claim(client, reader, ControllerRevision, owner, selector, lambda _: True)
    history = sorted(claimed, key=lambda revision: (revision.revision, revision.name))
    data = {"spec": {"template": {**owner.spec.template, "$patch": "replace"}}}
    update = next((revision for revision in reversed(history) if revision.data == data), None)
    collisions = int(owner.status.get("collisionCount") or 0)
    last = history[-1].revision if history else 0
    if update is None:
        update, collisions = await _create(client, owner, data, last + 1, collisions)
        history.append(update)
    elif update.revision != last:
        update = await client.patch(ControllerRevision, update.name, update.namespace, {"revision": last + 1})
    name = owner.status.get("currentRevision")
    current = next((revision for revision in history if revision.name == name), update)
    return Revisions(current, update, history, collisions)


def template_of(revision: ControllerRevision) -> Manifest:
    """The pod template that a revision stands for."""
    template = dict(revision.data["spec"]["template"])
    template.pop("$patch", None)
    return with_labels(template, {REVISION_LABEL: revision.name})


async def forget_old(client: Client, owner: Revised, revisions: Revisions, used: Collection[str]) -> None:
    """Delete the oldest revisions beyond the limit that neither a pod (`used`) nor the set needs."""
    limit = owner.spec.revision_history_limit
    live = {revisions.current.name, revisions.update.name, *used}
    idle = [revision for revision in revisions.history if revision.name not in live]
    if limit is None or len(idle) <= limit:
        return
    for revision in idle[: len(idle) - limit]:
        with suppress(NotFound):
            await client.delete(ControllerRevision, revision.name, revision.namespace)


async def _create(
    client: Client, owner: Revised, data: Manifest, number: int, collisions: int
) -> tuple[ControllerRevision, int]:
    labels = (owner.spec.template.get("metadata") or {}).get("labels") or {}
    while True:
        hash_ = short_hash(data, str(collisions))
        body = {
            "apiVersion": ControllerRevision.resource.api_version,
            "kind": "ControllerRevision",
            "metadata": {
                "name": f"{owner.name}-{hash_}",
                "namespace": owner.namespace,
                "labels": {**labels, "controller.kubernetes.io/hash": hash_},
                "ownerReferences": [owner_reference(owner)],
            },
            "data": data,
            "revision": number,
        }
        try:
            return await client.create(ControllerRevision, body, owner.namespace), collisions
        except AlreadyExists:
            present = await client.get(ControllerRevision, f"{owner.name}-{hash_}", owner.namespace)
            if present.data == data and any(
                reference.uid == owner.metadata.uid for reference in present.metadata.owner_references
            ):
                return present, collisions
            collisions += 1
