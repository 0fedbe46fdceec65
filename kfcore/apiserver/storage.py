"""Where the in-process API keeps objects: encoded once, as the JSON that every reader is handed. One counter of
resource versions; a bounded history per kind, from which watches resume and earlier lists are rebuilt. In memory; a
`journal`, where there is one, is told of each change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import msgspec

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest

HISTORY = 5000
"""Changes kept per kind; a watch from before them is answered with 410 Expired."""

Key = tuple[str, str]
"""Namespace (empty for a cluster-scoped object) and name."""

_NO_LABELS: Mapping[str, str] = {}


DECODED = 512
"""Objects that are kept as a dict too, for the whole process: the ones used last. A dict takes five times its JSON."""

_decoded: deque[Stored] = deque()


class Stored:
    """One object as of one resource version; never changed. Without `data`, it is an answer that was not stored."""

    __slots__ = ("_manifest", "api_version", "data", "key", "labels", "owners", "uid", "version")

    def __init__(self, manifest: Manifest, data: bytes, version: int) -> None:
        metadata = manifest["metadata"]
        self.key: Key = (metadata.get("namespace", ""), metadata.get("name", ""))
        self.uid: str = metadata.get("uid", "")
        self.labels: Mapping[str, str] = metadata.get("labels") or _NO_LABELS
        self.owners = _owner_uids(manifest)
        self.api_version: str = manifest.get("apiVersion", "")
        self.data = data
        self.version = version
        self._manifest: Manifest | None = manifest
        if data:
            self._keep()

    @property
    def manifest(self) -> Manifest:
        """Shared by all readers: never changed in place."""
        manifest = self._manifest
        if manifest is None:
            manifest = self._manifest = decode_json(self.data)
            self._keep()
        return manifest

    def _keep(self) -> None:
        _decoded.append(self)
        if len(_decoded) > DECODED:
            _decoded.popleft()._manifest = None


class Change(msgspec.Struct, frozen=True):
    """One step of a kind's history. `current` of a DELETED is the last state, at the version of its deletion."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    current: Stored
    previous: Stored | None


class TooOld(Exception):
    """The history does not reach back to the version asked for."""


class Collection:
    """All objects of one kind."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._objects: dict[Key, Stored] = {}
        self._sorted: list[Key] | None = None
        self.history: deque[Change] = deque(maxlen=HISTORY)
        self.oldest = 0
        self.subscribers: list[Callable[[Change], None]] = []

    def get(self, namespace: str, name: str) -> Stored | None:
        return self._objects.get((namespace, name))

    def __len__(self) -> int:
        return len(self._objects)

    def select(self, namespace: str = "") -> Iterator[Stored]:
        """The objects, in one namespace or (empty) all, sorted by namespace and name."""
        if self._sorted is None:
            self._sorted = sorted(self._objects)
        objects = self._objects
        if not namespace:
            return iter([objects[key] for key in self._sorted])
        return iter([objects[key] for key in self._sorted if key[0] == namespace])

    def as_of(self, version: int, namespace: str = "") -> list[Stored]:
        """The objects as they were at `version`. Raises TooOld."""
        changes = self.since(version)
        if not changes:
            return list(self.select(namespace))
        objects = dict(self._objects)
        for change in reversed(changes):
            if change.previous is None:
                objects.pop(change.current.key, None)
            else:
                objects[change.current.key] = change.previous
        return [objects[key] for key in sorted(objects) if not namespace or key[0] == namespace]

    def since(self, version: int) -> list[Change]:
        """The changes after `version`, oldest first. Raises TooOld."""
        if version < self.oldest:
            raise TooOld
        changes: list[Change] = []
        for change in reversed(self.history):
            if change.current.version <= version:
                break
            changes.append(change)
        changes.reverse()
        return changes

    def record(self, change: Change) -> Change | None:
        """Take a change in; the one that leaves the history for it, if one does."""
        self.apply(change)
        evicted = None
        if len(self.history) == HISTORY:
            evicted = self.history[0]
            self.oldest = evicted.current.version
        self.history.append(change)
        for notify in tuple(self.subscribers):
            notify(change)
        return evicted

    def undo(self, change: Change) -> None:
        """Take back the last change."""
        last = self.history.pop()
        assert last is change
        if change.previous is None:
            self._objects.pop(change.current.key, None)
        else:
            self._objects[change.current.key] = change.previous
        self._sorted = None

    def apply(self, change: Change) -> None:
        key = change.current.key
        if change.type == "DELETED":
            self._objects.pop(key, None)
            self._sorted = None
        else:
            if change.type == "ADDED":
                self._sorted = None
            self._objects[key] = change.current


class Storage:
    """The collections, the version counter, and the indexes by uid and by owner that garbage collection needs."""

    def __init__(self) -> None:
        self.version = 0
        self.collections: dict[str, Collection] = {}
        self.by_uid: dict[str, tuple[Collection, Key]] = {}
        self.by_owner: dict[str, dict[tuple[str, Key], None]] = {}
        self.journal: Callable[[Collection, Change, Change | None], None] | None = None
        """Told of each change, and of the one that left the collection's history for it."""

    def collection(self, name: str) -> Collection:
        found = self.collections.get(name)
        if found is None:
            found = self.collections[name] = Collection(name)
        return found

    def write(self, collection: Collection, manifest: Manifest, previous: Stored | None) -> Stored:
        """Store `manifest` (which becomes the storage's own) under the next version."""
        stored = self._next(manifest)
        if previous is None:
            self.by_uid[stored.uid] = (collection, stored.key)
        self._index(collection, previous, stored)
        self._record(collection, Change("ADDED" if previous is None else "MODIFIED", stored, previous))
        return stored

    def remove(self, collection: Collection, previous: Stored) -> Stored:
        """Remove an object. Watchers see it as it last was, at the version of its deletion."""
        stored = self._next({**previous.manifest, "metadata": {**previous.manifest["metadata"]}})
        self.by_uid.pop(previous.uid, None)
        self._index(collection, previous, None)
        self._record(collection, Change("DELETED", stored, previous))
        return stored

    def _record(self, collection: Collection, change: Change) -> None:
        evicted = collection.record(change)
        if self.journal is not None:
            self.journal(collection, change, evicted)

    def restore(self, collection: Collection, key: Key, version: int, data: bytes, *, deleted: bool) -> None:
        """Repeat a change that was written down, in the order of versions."""
        previous = collection.get(*key)
        stored = Stored(decode_json(data), data, version)
        self.version = version
        if deleted:
            self.by_uid.pop(stored.uid, None)
        else:
            self.by_uid[stored.uid] = (collection, key)
        self._index(collection, previous, None if deleted else stored)
        change = Change("DELETED" if deleted else "MODIFIED" if previous else "ADDED", stored, previous)
        if version > collection.oldest:
            collection.record(change)
        else:
            collection.apply(change)

    def undo(self, collection: Collection, change: Change) -> None:
        """Take back the last change of a collection. Its version is not given out again."""
        collection.undo(change)
        self._index(collection, None if change.type == "DELETED" else change.current, change.previous)
        if change.previous is None:
            self.by_uid.pop(change.current.uid, None)
        else:
            self.by_uid[change.previous.uid] = (collection, change.previous.key)

    def _next(self, manifest: Manifest) -> Stored:
        self.version += 1
        manifest["metadata"]["resourceVersion"] = str(self.version)
        return Stored(manifest, encode_json(manifest), self.version)

    def _index(self, collection: Collection, previous: Stored | None, current: Stored | None) -> None:
        before = previous.owners if previous else ()
        after = current.owners if current else ()
        if before == after:
            return
        key = (previous or current).key  # type: ignore[union-attr]
        for uid in before:
            entries = self.by_owner.get(uid, {})
            entries.pop((collection.name, key), None)
            if not entries:
                self.by_owner.pop(uid, None)
        for uid in after:
            self.by_owner.setdefault(uid, {})[collection.name, key] = None

    def find(self, uid: str) -> tuple[Collection, Stored] | None:
        """The object of a uid, if it exists."""
        place = self.by_uid.get(uid)
        if place is None:
            return None
        collection, key = place
        stored = collection.get(*key)
        return (collection, stored) if stored is not None and stored.uid == uid else None

    def dependents(self, uid: str) -> list[tuple[Collection, Stored]]:
        """The objects that name `uid` as an owner, in the order in which they came to."""
        found = []
        for name, key in list(self.by_owner.get(uid, ())):
            collection = self.collections[name]
            if (stored := collection.get(*key)) is not None:
                found.append((collection, stored))
        return found


def _owner_uids(manifest: Manifest) -> tuple[str, ...]:
    references = manifest["metadata"].get("ownerReferences")
    return tuple([reference["uid"] for reference in references]) if references else ()
