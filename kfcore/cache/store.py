"""The objects of one kind, by key and by index. Filled by an informer, read by the cache; it decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from kfcore.api.meta import Object

T = TypeVar("T", bound=Object)
Key = tuple[str, str]
"""Namespace and name."""

IndexFunction = Callable[[T], Sequence[str]]
"""The values under which an object is found in an index."""

OWNER = "owner"
"""The index that every store has: the uid of the controlling owner."""


def owner_uids(obj: Object) -> Sequence[str]:
    """The uid of the owner that controls `obj`."""
    for reference in obj.metadata.owner_references:
        if reference.controller:
            return (reference.uid,)
    return ()


class Store(Generic[T]):
    """What is known of one kind. The objects are shared with every reader: nobody may change one."""

    def __init__(self, indexes: Mapping[str, IndexFunction[T]] | None = None) -> None:
        self._namespaces: dict[str, dict[str, T]] = {}
        self._functions: dict[str, IndexFunction[T]] = {OWNER: owner_uids, **(indexes or {})}
        self._indexes: dict[str, dict[str, dict[Key, T]]] = {name: {} for name in self._functions}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, namespace: str, name: str) -> T | None:
        objects = self._namespaces.get(namespace)
        return objects.get(name) if objects else None

    def list(self, namespace: str | None = None) -> list[T]:
        """The objects of a namespace, or of all, in no particular order."""
        if namespace is not None:
            return list(self._namespaces.get(namespace, {}).values())
        return [obj for objects in self._namespaces.values() for obj in objects.values()]

    def by_index(self, index: str, value: str) -> Iterable[T]:
        """The objects that the index function gave `value`. Raises KeyError for an index that was not declared."""
        return self._indexes[index].get(value, {}).values()

    def add_index(self, name: str, function: IndexFunction[T]) -> None:
        """Index by a further function, the objects already here included."""
        self._functions[name] = function
        index = self._indexes[name] = {}
        for obj in self.list():
            _insert(index, function(obj), obj)

    def set(self, obj: T) -> tuple[T | None, T]:
        """Keep `obj` in place of the object of its key; (old, new)."""
        metadata = obj.metadata
        objects = self._namespaces.get(metadata.namespace)
        if objects is None:
            objects = self._namespaces[metadata.namespace] = {}
        old = objects.get(metadata.name)
        objects[metadata.name] = obj
        if old is None:
            self._count += 1
        for name, function in self._functions.items():
            index, values = self._indexes[name], function(obj)
            if old is not None and (before := function(old)) != values:
                _remove(index, before, old)
            if values:
                _insert(index, values, obj)
        return old, obj

    def delete(self, namespace: str, name: str) -> T | None:
        """Drop the object of a key; the object that was there."""
        objects = self._namespaces.get(namespace)
        old = objects.pop(name, None) if objects else None
        if old is None:
            return None
        if not objects:
            del self._namespaces[namespace]
        self._count -= 1
        for index_name, function in self._functions.items():
            _remove(self._indexes[index_name], function(old), old)
        return old


def _insert(index: dict[str, dict[Key, T]], values: Sequence[str], obj: T) -> None:
    metadata = obj.metadata
    for value in values:
        entries = index.get(value)
        if entries is None:
            entries = index[value] = {}
        entries[metadata.namespace, metadata.name] = obj


def _remove(index: dict[str, dict[Key, T]], values: Sequence[str], obj: T) -> None:
    for value in values:
        entries = index.get(value)
        if entries is not None:
            entries.pop((obj.metadata.namespace, obj.metadata.name), None)
            if not entries:
                del index[value]
