"""Which kinds the in-process API serves: the built-in ones (`catalogue.py`) and those that CRDs add. Routing asks for a
kind by its place in the URL; discovery and tables read the same descriptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class ScalePaths(msgspec.Struct, frozen=True):
    """Where a kind keeps its replica counts and selector, as dotted paths (`.spec.replicas`); no selector: empty."""

    spec_replicas: str
    status_replicas: str
    selector: str = ""


class Column(msgspec.Struct, frozen=True):
    """A printer column of a custom kind. `json_path` is a JSONPath without braces; `priority` above 0: wide only."""

    name: str
    type: str
    json_path: str
    description: str = ""
    format: str = ""
    priority: int = 0


class Subresource(msgspec.Struct, frozen=True):
    """What is served beside an object. `kind` with its group and version is that of the answer's body."""

    name: str
    kind: str
    group: str
    version: str
    verbs: tuple[str, ...]


class ServedKind(msgspec.Struct, frozen=True):
    """One version of one kind, as the API serves it.

    `columns` are a CRD's (built-in tables are `table.py`'s). `schema` is a CRD's OpenAPI v3 schema, None for built-in
    kinds and for schemaless ones. `storage` names what versions and aliases of a kind share (`events` and
    `events.events.k8s.io`). `selectable` are the paths
    of a custom kind's fields that selectors may name; `deprecation` is what users of the version are told.
    `create_only` kinds (reviews, bindings) are answered and never stored.
    """

    resource: Resource
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    columns: tuple[Column, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    scale: ScalePaths | None = None
    schema: Manifest | None = None
    storage: str = ""
    custom: bool = False
    storage_version: str = ""
    selectable: tuple[str, ...] = ()
    deprecation: str = ""

    @property
    def status(self) -> bool:
        """Whether `/status` is served, and so the main resource keeps its hands off `.status`."""
        return "status" in self.resource.subresources

    @property
    def create_only(self) -> bool:
        return "get" not in self.verbs

    def subresource(self, name: str) -> Subresource | None:
        return next((sub for sub in self.subresources if sub.name == name), None)


class Kinds:
    """The kinds served now, in order of registration."""

    def __init__(self, kinds: Iterable[ServedKind] = ()) -> None:
        self._by_place: dict[tuple[str, str, str], ServedKind] = {}
        self._by_kind: dict[tuple[str, str], ServedKind] = {}
        for kind in kinds:
            self.add(kind)

    def __iter__(self) -> Iterator[ServedKind]:
        return iter(list(self._by_place.values()))

    def add(self, kind: ServedKind) -> None:
        """Serve `kind`, in place of one that has the same group, version and plural."""
        resource = kind.resource
        if not kind.storage:
            kind = msgspec.structs.replace(kind, storage=resource.qualified_plural)
        self._by_place[resource.group, resource.version, resource.plural] = kind
        self._by_kind[resource.api_version, resource.kind] = kind

    def remove(self, kind: ServedKind) -> None:
        resource = kind.resource
        self._by_place.pop((resource.group, resource.version, resource.plural), None)
        self._by_kind.pop((resource.api_version, resource.kind), None)

    def at(self, group: str, version: str, plural: str) -> ServedKind | None:
        """The kind served at `/apis/{group}/{version}/{plural}`; core/v1 is the empty group."""
        return self._by_place.get((group, version, plural))

    def of(self, api_version: str, kind: str) -> ServedKind | None:
        """The kind that a manifest names."""
        return self._by_kind.get((api_version, kind))

    def in_group(self, group: str, version: str | None = None) -> list[ServedKind]:
        return [
            kind
            for kind in self._by_place.values()
            if kind.resource.group == group and version in (None, kind.resource.version)
        ]

    def group_versions(self) -> dict[str, list[str]]:
        """Versions by group in order of registration, preferred version first; core is the empty group."""
        versions: dict[str, list[str]] = {}
        for kind in self._by_place.values():
            known = versions.setdefault(kind.resource.group, [])
            if kind.resource.version not in known:
                known.append(kind.resource.version)
        return versions
