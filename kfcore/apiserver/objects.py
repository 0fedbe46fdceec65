"""Every change to an object, whatever it came through: namespace and name checks, defaults, rules, optimistic
concurrency, generation, graceful deletion. `writing.py` calls it with decoded bodies; `garbage.py` follows it up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver import metadata as meta
from kfcore.apiserver.conversion import from_storage, to_storage
from kfcore.apiserver.deletion import DeleteOptions, begin_deletion, check_preconditions
from kfcore.apiserver.garbage import GarbageCollector
from kfcore.apiserver.identity import check_identity, check_namespace
from kfcore.apiserver.kinds import Kinds, ServedKind
from kfcore.apiserver.ownership import Owner, managed
from kfcore.apiserver.status import (
    FieldError,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    invalid_value,
    not_found,
)
from kfcore.apiserver.storage import Collection, Storage, Stored
from kfcore.apiserver.strategy import Strategy
from kfcore.client.errors import Cause
from kfcore.clock import Clock

Change = Callable[[Manifest], Manifest]
"""From the object as the request's version serves it (a copy that may be changed) to what the client wants."""

Demand = Callable[[Manifest, Manifest | None], None]
"""Raises Forbidden for an object (and, of an update, what it was) that whoever asks may not write."""

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_GENERATED = 5
_TRIES = 8
_LOOKED_AT_WHOLE = frozenset({"ConfigMap", "Namespace", "Node", "Pod", "Secret", "Service"})
"""Kinds of which an update is held to the rules of new objects, too."""
_IMMORTAL = ("default", "kube-public", "kube-system")
"""Namespaces that no cluster is without."""
_NAME_LIMIT = 63


class Deletion(msgspec.Struct, frozen=True):
    """What became of a delete: the object as of then, and whether it is gone."""

    stored: Stored
    gone: bool


class Objects:
    """All writes. Reads go to `storage` directly."""

    def __init__(
        self,
        kinds: Kinds,
        storage: Storage,
        strategies: Callable[[ServedKind], Strategy],
        clock: Clock,
        seed: int | None,
    ) -> None:
        self.kinds = kinds
        self.storage = storage
        self.clock = clock
        self._strategies = strategies
        # Of a storage that goes on, a seed alone would give out the uids that it gave out before.
        self._random = Random(seed if seed is None or not storage.version else f"{seed} from {storage.version}")
        self.garbage = GarbageCollector(self)
        self.on_change: list[Callable[[ServedKind, Stored | None, Stored | None], None]] = []
        self.checks: list[Callable[[ServedKind, Manifest], None]] = []
        """What has the last word on a new object that is valid: each may raise Forbidden."""

    # ── names and times ──────────────────────────────────────────────────────────────────────────────────────────────

    def now(self) -> str:
        return meta.timestamp(self.clock.now())

    def new_uid(self) -> str:
        text = f"{self._random.getrandbits(128):032x}"
        variant = "89ab"[int(text[16], 16) & 3]
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"

    def generated_name(self, prefix: str) -> str:
        suffix = "".join(self._random.choices(_ALPHABET, k=_GENERATED))
        return prefix[: _NAME_LIMIT - _GENERATED] + suffix

    def _free_name(self, kind: ServedKind, namespace: str, prefix: str) -> str:
        """Of a few generated names the first that nobody has; the last where all are taken."""
        collection, place = self.collection(kind), namespace if kind.resource.namespaced else ""
        name = ""
        for _ in range(_TRIES):
            name = self.generated_name(prefix)
            if collection.get(place, name) is None:
                break
        return name

    def collection(self, kind: ServedKind) -> Collection:
        return self.storage.collection(kind.storage)

    def strategy(self, kind: ServedKind) -> Strategy:
        return self._strategies(kind)

    def read(self, kind: ServedKind, namespace: str, name: str) -> Stored:
        stored = self.collection(kind).get(namespace, name)
        if stored is None:
            raise not_found(kind.resource, name)
        return stored

    # ── create ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def create(
        self,
        kind: ServedKind,
        namespace: str,
        manifest: Manifest,
        *,
        dry_run: bool = False,
        uid: str | None = None,
        owner: Owner | None = None,
        unknown: Callable[[list[str]], None] | None = None,
        trusted: bool = False,
        demand: Demand | None = None,
    ) -> Stored:
        """Store a new object. `manifest` is taken over and changed; `uid` is for objects from elsewhere.

        `owner` owns the fields that the object has before the server adds its own. `unknown` is told the places of
        fields that the kind does not have. `trusted`: what its kind's rules would say is known, and good. `demand` may
        refuse what would be stored.
        """
        resource, strategy = kind.resource, self.strategy(kind)
        metadata = meta.clean(manifest, resource)
        check_namespace(kind, namespace, metadata)
        if metadata.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = self._free_name(kind, namespace, metadata["generateName"])
        for field in ("uid", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
            metadata.pop(field, None)
        if resource.namespaced:
            self._check_may_create_in(kind, namespace, metadata.get("name", ""))
        if strategy.generation:
            metadata["generation"] = 1
        metadata["uid"] = uid or self.new_uid()
        metadata["creationTimestamp"] = self.now()
        manifest = self._arrange(kind, metadata, manifest)
        if kind.status and not strategy.keeps_status:
            manifest.pop("status", None)
        dropped = strategy.decode(manifest)
        if unknown is not None:
            unknown(dropped)
        strategy.default(manifest)
        if owner is not None and (entries := managed(kind, owner, None, manifest)):
            manifest["metadata"]["managedFields"] = entries
        strategy.on_create(manifest)
        errors = meta.validate(manifest["metadata"], strategy.names, custom=kind.custom)
        if not trusted:
            errors += strategy.validate(manifest, None)
        if errors:
            raise invalid(resource, metadata.get("name", ""), errors)
        for check in self.checks:
            check(kind, manifest)
        if demand is not None:
            demand(manifest, None)
        collection = self.collection(kind)
        if collection.get(metadata.get("namespace", ""), metadata["name"]) is not None:
            raise already_exists(resource, metadata["name"])
        manifest = to_storage(kind, manifest)
        manifest["metadata"] = meta.ordered(manifest["metadata"])
        if dry_run:
            return Stored(manifest, b"", 0)
        stored = self.storage.write(collection, manifest, None)
        self._changed(kind, None, stored)
        self.garbage.created(stored)
        return stored

    def _check_may_create_in(self, kind: ServedKind, namespace: str, name: str) -> None:
        namespaces = self.kinds.at("", "v1", "namespaces")
        assert namespaces is not None
        found = self.storage.collection(namespaces.storage).get("", namespace)
        if found is None:
            raise not_found(namespaces.resource, namespace)
        if "deletionTimestamp" in found.manifest["metadata"]:
            cause = Cause("NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace")
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise forbidden(kind.resource, name, why, cause)

    def _arrange(self, kind: ServedKind, metadata: Manifest, manifest: Mapping[str, Any]) -> Manifest:
        resource = kind.resource
        rest = {key: value for key, value in manifest.items() if key not in ("kind", "apiVersion", "metadata")}
        return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata, **rest}

    # ── update ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def update(
        self,
        kind: ServedKind,
        namespace: str,
        name: str,
        change: Change,
        *,
        subresource: str = "",
        dry_run: bool = False,
        replaces: bool = False,
        owner: Owner | None = None,
        unknown: Callable[[list[str]], None] | None = None,
        validate: Callable[[Manifest, Manifest], list[FieldError]] | None = None,
        demand: Demand | None = None,
    ) -> Stored:
        """Store what `change` makes of an object; unchanged objects keep their version. `replaces`: a PUT.

        `owner` becomes the owner of the fields that change; `unknown` and `demand` are as for `create`. A subresource
        with rules of its own brings them as `validate`, in place of the kind's.
        """
        resource, strategy = kind.resource, self.strategy(kind)
        collection = self.collection(kind)
        previous = self.read(kind, namespace, name)
        before = from_storage(kind, previous)
        wanted = change(from_storage(kind, previous))
        metadata = meta.clean(wanted, resource)
        self._check_identity(kind, namespace, name, metadata, previous, replaces=replaces)
        manifest = self._arrange(kind, metadata, wanted)
        errors = meta.carry_over(metadata, previous)
        metadata["resourceVersion"] = before["metadata"]["resourceVersion"]
        if subresource == "status" and kind.custom:
            given = metadata.get("managedFields")
            manifest = {**before, "metadata": dict(before["metadata"])}
            if given is not None:
                manifest["metadata"]["managedFields"] = given
            if "status" in wanted:
                manifest["status"] = wanted["status"]
            else:
                manifest.pop("status", None)
        elif subresource == "status":
            kept = {key: value for key, value in before.items() if key not in ("metadata", "status")}
            metadata["ownerReferences"] = before["metadata"].get("ownerReferences", [])
            if not metadata["ownerReferences"]:
                del metadata["ownerReferences"]
            manifest = {"kind": "", "apiVersion": "", "metadata": metadata, **kept}
            if "status" in wanted:
                manifest["status"] = wanted["status"]
        elif subresource != "binding" and kind.status and not strategy.keeps_status:
            if "status" in before:
                manifest["status"] = before["status"]
            else:
                manifest.pop("status", None)
        dropped = strategy.decode(manifest)
        if unknown is not None:
            unknown(dropped)
        strategy.default(manifest)
        if not subresource:
            strategy.on_update(manifest, before)
        if strategy.generation and subresource != "binding" and self._counts(strategy, subresource, manifest, before):
            manifest["metadata"]["generation"] = before["metadata"].get("generation", 0) + 1
        if owner is not None:
            entries = managed(kind, owner, before, manifest, subresource=subresource)
            manifest["metadata"].pop("managedFields", None)
            if entries:
                manifest["metadata"]["managedFields"] = entries
        if unfit := meta.validate(manifest["metadata"], strategy.names, custom=kind.custom):
            again = not kind.custom and resource.kind in _LOOKED_AT_WHOLE
            errors += meta.repeated(unfit, times=4 if again else 3)
        if subresource != "binding":
            errors += (validate or strategy.validate)(manifest, before)
        if errors:
            raise invalid(resource, name, errors)
        if demand is not None:
            demand(manifest, before)
        manifest = to_storage(kind, manifest)
        if manifest == previous.manifest:
            return previous
        manifest["metadata"] = meta.ordered(manifest["metadata"])
        if dry_run:
            return Stored(manifest, b"", previous.version)
        if self._last_hold_released(manifest):
            return _last_seen(manifest, self.remove(kind, previous))
        stored = self.storage.write(collection, manifest, previous)
        self._changed(kind, previous, stored)
        self.garbage.updated(previous, stored)
        return stored

    @staticmethod
    def _counts(strategy: Strategy, subresource: str, manifest: Manifest, before: Manifest) -> bool:
        """Whether a change is one of the object's generation."""
        if _spec_of(manifest) != _spec_of(before):
            return True
        annotations = [one["metadata"].get("annotations") for one in (manifest, before)]
        return strategy.counts_annotations and not subresource and annotations[0] != annotations[1]

    def _check_identity(
        self, kind: ServedKind, namespace: str, name: str, metadata: Manifest, previous: Stored, *, replaces: bool
    ) -> None:
        resource = kind.resource
        check_identity(kind, namespace, name, metadata)
        version = metadata.get("resourceVersion")
        if replaces and (uid := metadata.get("uid")) not in (None, previous.uid):
            place = "/".join(filter(None, ("/registry", resource.qualified_plural, namespace, name)))
            raise conflict(
                resource,
                name,
                f"StorageError: invalid object, Code: 4, Key: {place}, ResourceVersion: 0, AdditionalErrorMsg: "
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {previous.uid}",
            )
        if not version or version == "0":
            if not self.strategy(kind).unconditional_update:
                error = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
                raise invalid(resource, name, [error], by_plural=True)
        elif version != str(previous.version):
            raise conflict(resource, name)

    # ── delete ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def delete(
        self, kind: ServedKind, namespace: str, name: str, options: DeleteOptions, *, dry_run: bool = False
    ) -> Deletion:
        """Delete an object, or begin to: finalizers, dependents and grace periods may keep it for now."""
        previous = self.read(kind, namespace, name)
        if kind.storage == "namespaces" and name in _IMMORTAL:
            raise forbidden(kind.resource, name, "this namespace may not be deleted")
        check_preconditions(kind.resource, previous, options)
        pending = begin_deletion(self.strategy(kind), previous, options, self.clock.now())
        if pending is None:
            return Deletion(previous, gone=False)
        if dry_run:
            gone = self._last_hold_released(pending)
            return Deletion(Stored(pending, previous.data, previous.version), gone=gone)
        if self._last_hold_released(pending):
            removed = self.remove(kind, previous)
            return Deletion(_last_seen(pending, removed), gone=True)
        stored = self.storage.write(self.collection(kind), pending, previous)
        self._changed(kind, previous, stored)
        self.garbage.deletion_began(stored)
        return Deletion(stored, gone=False)

    def remove(self, kind: ServedKind, previous: Stored) -> Stored:
        """Take an object out of storage, and collect what that leaves behind."""
        stored = self.storage.remove(self.collection(kind), previous)
        self._changed(kind, previous, None)
        self.garbage.removed(kind, stored)
        return stored

    @staticmethod
    def _last_hold_released(manifest: Manifest) -> bool:
        metadata = manifest["metadata"]
        if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
            return False
        if manifest["kind"] == "Namespace" and manifest.get("spec", {}).get("finalizers"):
            return False
        return not metadata.get("deletionGracePeriodSeconds")

    def _changed(self, kind: ServedKind, previous: Stored | None, current: Stored | None) -> None:
        for notify in self.on_change:
            notify(kind, previous, current)


def _last_seen(manifest: Manifest, removed: Stored) -> Stored:
    """What the caller whose request removed an object is answered with: the object as that request left it."""
    metadata = {**manifest["metadata"], "resourceVersion": str(removed.version)}
    return Stored({**manifest, "metadata": metadata}, b"", removed.version)


def _spec_of(manifest: Manifest) -> Manifest:
    """What counts for the generation: everything but metadata and status."""
    return {key: value for key, value in manifest.items() if key not in ("kind", "apiVersion", "metadata", "status")}
