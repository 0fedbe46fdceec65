"""Every change to an object, whatever it came through: namespace and name checks, defaults, rules, optimistic
concurrency, generation, graceful deletion. `writing.py` calls it with decoded bodies; `garbage.py` follows it up.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver import metadata as meta
from kfcore.apiserver.changes import arranged, counts, permitted
from kfcore.apiserver.conversion import from_storage, to_storage
from kfcore.apiserver.deletion import DeleteOptions, begin_deletion, check_preconditions
from kfcore.apiserver.draws import Draws
from kfcore.apiserver.garbage import GarbageCollector
from kfcore.apiserver.identity import check_current, check_identity, check_namespace
from kfcore.apiserver.kinds import Kinds, ServedKind
from kfcore.apiserver.ownership import Owner, managed
from kfcore.apiserver.status import (
    FieldError,
    already_exists,
    bad_request,
    forbidden,
    invalid,
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


class Gate(Protocol):
    """What a client's request goes through (`gate.py`); the server's own changes do not."""

    def mutate(self, manifest: Manifest, before: Manifest | None = None, *, unnamed: bool = False) -> Manifest | None:
        """A copy of the object as others want it; None where they leave it. `unnamed`: its name was made up."""

    def validate(self, manifest: Manifest, before: Manifest | None = None) -> None:
        """Raises the refusal of an object that others do not want."""

    def delete(self, before: Manifest, options: Manifest, *, dry_run: bool) -> None:
        """Raises the refusal to delete an object."""


_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_GENERATED = 5
_TRIES = 8
_LOOKED_AT_WHOLE = frozenset({"ConfigMap", "Namespace", "Node", "Pod", "Secret", "Service"})
"""Kinds of which an update is held to the rules of new objects, too."""
_IMMORTAL = ("default", "kube-public", "kube-system")
"""Namespaces that no cluster is without."""
_CLASSES, _SYSTEM_CLASSES = "priorityclasses.scheduling.k8s.io", ("system-cluster-critical", "system-node-critical")
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
        self.draws = Draws()
        self._random = Random(seed if seed is None or not storage.version else f"{seed} from {storage.version}")
        self.garbage = GarbageCollector(self)
        self.on_change: list[Callable[[ServedKind, Stored | None, Stored | None], None]] = []
        self.checks: list[Callable[[ServedKind, Manifest], None]] = []
        """What has the last word on a new object that is valid: each may raise Forbidden."""

    # ── names and times ──────────────────────────────────────────────────────────────────────────────────────────────

    def now(self) -> str:
        return self._now() if self.draws.idle else self.draws.draw(self._now)

    def _now(self) -> str:
        return meta.timestamp(self.clock.now())

    def new_uid(self) -> str:
        return self._new_uid() if self.draws.idle else self.draws.draw(self._new_uid)

    def _new_uid(self) -> str:
        text = f"{self._random.getrandbits(128):032x}"
        variant = "89ab"[int(text[16], 16) & 3]
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"

    def generated_name(self, prefix: str) -> str:
        suffix = self._suffix() if self.draws.idle else self.draws.draw(self._suffix)
        return prefix[: _NAME_LIMIT - _GENERATED] + suffix

    def _suffix(self) -> str:
        return "".join(self._random.choices(_ALPHABET, k=_GENERATED))

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
        gate: Gate | None = None,
    ) -> Stored:
        """Store a new object. `manifest` is taken over and changed; `uid` is for objects from elsewhere.

        `owner` owns the fields that the object has before the server adds its own. `unknown` is told the places of
        fields that the kind does not have. `trusted`: what its kind's rules would say is known, and good. `demand` may
        refuse what would be stored, and those behind `gate` may change it, too.
        """
        resource, strategy = kind.resource, self.strategy(kind)
        metadata = meta.clean(manifest, resource)
        check_namespace(kind, namespace, metadata)
        if metadata.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        unnamed = not metadata.get("name") and bool(metadata.get("generateName"))
        if unnamed:
            metadata["name"] = self._free_name(kind, namespace, metadata["generateName"])
        for field in (
            "uid",
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "creationTimestamp",
        ):
            metadata.pop(field, None)
        if resource.namespaced:
            self._check_may_create_in(kind, namespace, metadata.get("name", ""))
        manifest = arranged(kind, metadata, manifest)
        if kind.status and not strategy.keeps_status:
            manifest.pop("status", None)
        dropped = strategy.decode(manifest)
        if unknown is not None:
            unknown(dropped)
        strategy.default(manifest)
        if owner is not None and (entries := managed(kind, owner, None, manifest)):
            manifest["metadata"]["managedFields"] = entries
        strategy.admit(manifest)
        if gate is not None and (wanted := gate.mutate(manifest, unnamed=unnamed)) is not None:
            metadata = meta.clean(wanted, resource)
            check_namespace(kind, namespace, metadata)
            manifest = arranged(kind, metadata, wanted)
            strategy.decode(manifest)
            strategy.default(manifest)
            strategy.admit(manifest)
        metadata = manifest["metadata"]
        if strategy.generation:
            metadata["generation"] = 1
        metadata["uid"] = uid or self.new_uid()
        metadata["creationTimestamp"] = self.now()
        strategy.on_create(manifest)
        errors = meta.validate(manifest["metadata"], strategy.names, custom=kind.custom)
        if not trusted:
            errors += strategy.validate(manifest, None)
        if errors:
            raise invalid(resource, metadata.get("name", ""), errors)
        if gate is not None:
            gate.validate(manifest)
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
        gate: Gate | None = None,
    ) -> Stored:
        """Store what `change` makes of an object; unchanged objects keep their version. `replaces`: a PUT.

        `owner` becomes the owner of the fields that change; `unknown`, `demand` and `gate` are as for `create`. A
        subresource with rules of its own brings them as `validate`, in place of the kind's.
        """
        resource, strategy = kind.resource, self.strategy(kind)
        collection = self.collection(kind)
        previous = self.read(kind, namespace, name)
        before = from_storage(kind, previous)
        wanted = change(from_storage(kind, previous))
        metadata = meta.clean(wanted, resource)
        check_identity(kind, namespace, name, metadata)
        check_current(kind, metadata, previous, replaces=replaces, unconditional=strategy.unconditional_update)
        errors = meta.carry_over(metadata, previous)
        metadata["resourceVersion"] = before["metadata"]["resourceVersion"]
        manifest = permitted(kind, strategy, subresource, metadata, wanted, before)
        dropped = strategy.decode(manifest)
        if unknown is not None:
            unknown(dropped)
        self._settle(strategy, subresource, manifest, before)
        if owner is not None:
            entries = managed(kind, owner, before, manifest, subresource=subresource)
            manifest["metadata"].pop("managedFields", None)
            if entries:
                manifest["metadata"]["managedFields"] = entries
        if gate is not None and (wanted_by_others := gate.mutate(manifest, before)) is not None:
            metadata = meta.clean(wanted_by_others, resource)
            check_identity(kind, namespace, name, metadata)
            errors += meta.carry_over(metadata, previous)
            metadata["resourceVersion"] = before["metadata"]["resourceVersion"]
            manifest = permitted(kind, strategy, subresource, metadata, wanted_by_others, before)
            strategy.decode(manifest)
            self._settle(strategy, subresource, manifest, before)
        if unfit := meta.validate(manifest["metadata"], strategy.names, custom=kind.custom):
            again = not kind.custom and resource.kind in _LOOKED_AT_WHOLE
            errors += meta.repeated(unfit, times=4 if again else 3)
        if subresource != "binding":
            errors += (validate or strategy.validate)(manifest, before)
        if errors:
            raise invalid(resource, name, errors)
        if gate is not None:
            gate.validate(manifest, before)
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
    def _settle(strategy: Strategy, subresource: str, manifest: Manifest, before: Manifest) -> None:
        """Give a changed object its defaults, and what its kind makes of a change."""
        strategy.default(manifest)
        if not subresource:
            strategy.on_update(manifest, before)
        if strategy.generation and subresource != "binding" and counts(strategy, subresource, manifest, before):
            manifest["metadata"]["generation"] = before["metadata"].get("generation", 0) + 1

    # ── delete ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def delete(
        self,
        kind: ServedKind,
        namespace: str,
        name: str,
        options: DeleteOptions,
        *,
        dry_run: bool = False,
        gate: Gate | None = None,
    ) -> Deletion:
        """Delete an object, or begin to: finalizers, dependents and grace periods may keep it for now."""
        previous = self.read(kind, namespace, name)
        if kind.storage == "namespaces" and name in _IMMORTAL:
            raise forbidden(kind.resource, name, "this namespace may not be deleted")
        if kind.storage == _CLASSES and name in _SYSTEM_CLASSES:
            raise forbidden(kind.resource, name, "this is a system priority class and cannot be deleted")
        check_preconditions(kind.resource, previous, options)
        if gate is not None:
            gate.delete(from_storage(kind, previous), options.manifest, dry_run=dry_run)
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
