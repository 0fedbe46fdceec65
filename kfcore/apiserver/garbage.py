"""Garbage collection by owner references, and the emptying of deleted namespaces.

It runs inside the call that makes it necessary, so that a test sees its outcome at once. Only objects whose owner never
existed wait for a timer, as they do in a cluster until the collector has looked the owner up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kfcore.api.meta import Manifest
from kfcore.apiserver.deletion import FOREGROUND, ORPHAN, DeleteOptions
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.namespace_conditions import deletion_conditions
from kfcore.apiserver.storage import Collection, Stored
from kfcore.clock import Timer

if TYPE_CHECKING:
    from kfcore.apiserver.objects import Objects

ABSENT_OWNER_SECONDS = 2.0


class GarbageCollector:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._timers: dict[str, Timer] = {}

    # ── what Objects reports ─────────────────────────────────────────────────────────────────────────────────────────

    def created(self, stored: Stored) -> None:
        self._look_up_owners(stored)

    def restore(self) -> None:
        """Look again for the owners of what storage began with: the timers of the server before are gone."""
        for collection in self._objects.storage.collections.values():
            for stored in collection.select():
                self._look_up_owners(stored)

    def updated(self, previous: Stored, stored: Stored) -> None:
        metadata = stored.manifest["metadata"]
        if previous.owners != stored.owners:
            self._look_up_owners(stored)
            self._check_waiting_owners(previous.owners)
        if "deletionTimestamp" in metadata and FOREGROUND in metadata.get("finalizers", ()):
            self._check_waiting_owners((stored.uid,))

    def deletion_began(self, stored: Stored) -> None:
        """An object is deleting and still there: see to its dependents as its finalizers say."""
        finalizers = stored.manifest["metadata"].get("finalizers", ())
        if ORPHAN in finalizers:
            self._orphan_dependents(stored)
            self._release(stored.uid, ORPHAN)
        elif FOREGROUND in finalizers:
            for collection, dependent in self._objects.storage.dependents(stored.uid):
                self._collect(collection, dependent, foreground=True)
            self._check_waiting_owners((stored.uid,))
        if stored.manifest["kind"] == "Namespace":
            self._empty_namespace(stored.manifest["metadata"]["name"])

    def removed(self, kind: ServedKind, stored: Stored) -> None:
        """An object is gone: its dependents follow, and who waited for it may go on."""
        for collection, dependent in self._objects.storage.dependents(stored.uid):
            self._collect(collection, dependent)
        self._check_waiting_owners(stored.owners)
        if namespace := stored.manifest["metadata"].get("namespace"):
            self._finish_namespace(namespace)

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    # ── dependents ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _collect(self, collection: Collection, dependent: Stored, *, foreground: bool = False) -> None:
        """Delete an object when no owner keeps it; else drop its references to owners that are gone or going."""
        storage = self._objects.storage
        current = collection.get(*dependent.key)
        if current is None or current.uid != dependent.uid:
            return
        references = current.manifest["metadata"].get("ownerReferences", [])
        keeping = [reference for reference in references if self._keeps(current, reference, foreground=foreground)]
        if keeping:
            if len(keeping) < len(references):
                self._rewrite(current, ownerReferences=keeping)
            return
        if "deletionTimestamp" in current.manifest["metadata"]:
            return
        kind = self._kind(current)
        if kind is not None:
            namespace, name = current.key
            policy = "Foreground" if foreground and storage.dependents(current.uid) else ""
            self._objects.delete(kind, namespace, name, DeleteOptions(propagation=policy))

    def _keeps(self, dependent: Stored, reference: Manifest, *, foreground: bool) -> bool:
        """Whether an owner keeps its dependent: one that is there and, `foreground`, does not wait for it to go.

        A dependent without a namespace is kept for ever by what names an owner that has one: nobody can look that up.
        """
        kind = self._objects.kinds.of(reference["apiVersion"], reference["kind"])
        if not dependent.key[0] and kind is not None and kind.resource.namespaced:
            return True
        owner = self._owner(dependent, reference["uid"])
        return owner is not None and not (foreground and _waits_for_dependents(owner.manifest))

    def _owner(self, dependent: Stored, uid: str) -> Stored | None:
        """Owners are looked for in the dependent's namespace, and among what has none."""
        found = self._objects.storage.find(uid)
        return found[1] if found is not None and found[1].key[0] in ("", dependent.key[0]) else None

    def _orphan_dependents(self, owner: Stored) -> None:
        for _, dependent in self._objects.storage.dependents(owner.uid):
            references = [
                reference
                for reference in dependent.manifest["metadata"]["ownerReferences"]
                if reference["uid"] != owner.uid
            ]
            self._rewrite(dependent, ownerReferences=references)

    def _check_waiting_owners(self, uids: tuple[str, ...]) -> None:
        """Let owners go that were deleted in the foreground and have no blocking dependents left."""
        storage = self._objects.storage
        for uid in uids:
            found = storage.find(uid)
            if found is None or not _waits_for_dependents(found[1].manifest):
                continue
            if not any(_blocks(dependent.manifest, uid) for _, dependent in storage.dependents(uid)):
                self._release(uid, FOREGROUND)

    def _release(self, uid: str, finalizer: str) -> None:
        found = self._objects.storage.find(uid)
        if found is not None:
            finalizers = found[1].manifest["metadata"].get("finalizers", ())
            self._rewrite(found[1], finalizers=[item for item in finalizers if item != finalizer])

    def _rewrite(self, stored: Stored, **metadata: list[Manifest] | list[str]) -> None:
        kind = self._kind(stored)
        if kind is None:
            return

        def change(manifest: Manifest) -> Manifest:
            manifest["metadata"].update(metadata)
            return manifest

        self._objects.update(kind, *stored.key, change)

    def _kind(self, stored: Stored) -> ServedKind | None:
        return self._objects.kinds.of(stored.manifest["apiVersion"], stored.manifest["kind"])

    # ── owners that never were ───────────────────────────────────────────────────────────────────────────────────────

    def _look_up_owners(self, stored: Stored) -> None:
        storage = self._objects.storage
        uids = stored.owners
        if not uids or all(self._owner(stored, uid) for uid in uids) or stored.uid in self._timers:
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return  # objects put in before anything runs, in whatever order

        def look_again() -> None:
            self._timers.pop(stored.uid, None)
            if (found := storage.find(stored.uid)) is not None:
                self._collect(*found)

        self._timers[stored.uid] = self._objects.clock.call_later(ABSENT_OWNER_SECONDS, look_again)

    # ── namespaces ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _empty_namespace(self, namespace: str) -> None:
        for collection in list(self._objects.storage.collections.values()):
            for stored in collection.select(namespace):
                kind = self._kind(stored)
                if kind is not None and collection.get(*stored.key) is not None:
                    self._objects.delete(kind, *stored.key, DeleteOptions())
        self._finish_namespace(namespace)
        self._say_what_remains(namespace)

    def _say_what_remains(self, namespace: str) -> None:
        storage = self._objects.storage
        found = storage.collection("namespaces").get("", namespace)
        kind = None if found is None else self._kind(found)
        if kind is None:
            return
        remaining = [
            (inner.resource, stored.manifest)
            for collection in storage.collections.values()
            for stored in collection.select(namespace)
            if (inner := self._kind(stored)) is not None
        ]

        def change(manifest: Manifest) -> Manifest:
            status = manifest.get("status") or {}
            conditions = deletion_conditions(remaining, status.get("conditions") or (), self._objects.now())
            return {**manifest, "status": {**status, "conditions": conditions}}

        if remaining:
            self._objects.update(kind, "", namespace, change, subresource="status")

    def _finish_namespace(self, namespace: str) -> None:
        storage = self._objects.storage
        found = storage.collection("namespaces").get("", namespace)
        if found is None or "deletionTimestamp" not in found.manifest["metadata"]:
            return
        if any(next(collection.select(namespace), None) for collection in storage.collections.values()):
            return
        kind = self._kind(found)
        if kind is not None and "kubernetes" in (found.manifest.get("spec") or {}).get("finalizers", ()):
            # What else holds the namespace goes on holding it; without, it goes with this.
            self._objects.update(kind, "", namespace, _without_own_finalizer, subresource="finalize")


def _without_own_finalizer(namespace: Manifest) -> Manifest:
    left = [item for item in namespace["spec"]["finalizers"] if item != "kubernetes"]
    return {**namespace, "spec": {"finalizers": left} if left else {}}


def _waits_for_dependents(manifest: Manifest) -> bool:
    metadata = manifest["metadata"]
    return "deletionTimestamp" in metadata and FOREGROUND in metadata.get("finalizers", ())


def _blocks(manifest: Manifest, uid: str) -> bool:
    return any(
        reference["uid"] == uid and reference.get("blockOwnerDeletion")
        for reference in manifest["metadata"].get("ownerReferences", ())
    )
