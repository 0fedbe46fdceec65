"""The kinds that CustomResourceDefinitions add, and the strategy of those kinds' objects. The rules of the definitions
themselves are `definitions.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver.deletion import DeleteOptions
from kfcore.apiserver.embedded import Embedded
from kfcore.apiserver.kinds import Column, ScalePaths, ServedKind, Subresource
from kfcore.apiserver.objects import Objects
from kfcore.apiserver.rules import Rules
from kfcore.apiserver.schema import fill_defaults, prune
from kfcore.apiserver.status import FieldError
from kfcore.apiserver.storage import Change, Collection, Stored
from kfcore.apiserver.strategy import Strategy
from kfcore.apiserver.validation import validate, with_rules

CRD_GROUP = "apiextensions.k8s.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_UPDATE = ("get", "patch", "update")
_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


class CustomKinds:
    """Keeps the served kinds in step with the CRDs in storage."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._strategies: dict[tuple[str, str], Strategy] = {}
        crds = objects.kinds.at(CRD_GROUP, "v1", "customresourcedefinitions")
        assert crds is not None
        self._crds = crds
        objects.on_change.append(self._changed)

    def install(self, manifest: Manifest, *, trusted: bool = False) -> None:
        """Create the CRD, or replace the one of its name."""
        name = (manifest.get("metadata") or {}).get("name", "")
        if self._objects.collection(self._crds).get("", name) is None:
            self._objects.create(self._crds, "", {**manifest}, trusted=trusted)
        else:
            self._objects.update(self._crds, "", name, lambda before: {**before, "spec": manifest.get("spec")})

    def restore(self) -> None:
        """Serve the kinds of the CRDs that storage began with."""
        for crd in self._objects.collection(self._crds).select():
            self._serve(None, crd)

    def undone(self, collection: Collection, change: Change) -> None:
        """Serve again what was served before a change that storage took back."""
        if collection.name == self._crds.storage:
            self._serve(None if change.type == "DELETED" else change.current, change.previous)

    def strategy(self, kind: ServedKind) -> Strategy:
        return self._strategies[kind.resource.api_version, kind.resource.kind]

    def _changed(self, kind: ServedKind, previous: Stored | None, current: Stored | None) -> None:
        if kind.custom and current is None:
            crd = self._objects.collection(self._crds).get("", kind.resource.qualified_plural)
            if crd is not None and "deletionTimestamp" in crd.manifest["metadata"]:
                self._clean_up(crd)
        if kind.storage != self._crds.storage:
            return
        self._serve(previous, current)
        if current is None and previous is not None:
            self._accept_waiting(previous.manifest["spec"]["group"])
        if current is not None and "deletionTimestamp" in current.manifest["metadata"]:
            self._clean_up(current)

    def _accept_waiting(self, group: str) -> None:
        """The names of a CRD are free: look again at those of its group that wait for some."""
        for stored in list(self._objects.collection(self._crds).select()):
            if stored.manifest["spec"]["group"] == group and not served_kinds(stored.manifest):
                self._objects.update(self._crds, *stored.key, lambda crd: crd)

    def _serve(self, previous: Stored | None, current: Stored | None) -> None:
        before = {k.resource: k for k in served_kinds(previous.manifest)} if previous else {}
        after = {k.resource: k for k in served_kinds(current.manifest)} if current else {}
        for resource, gone in before.items():
            if resource not in after:
                self._objects.kinds.remove(gone)
        for served_kind in after.values():
            self._strategies[served_kind.resource.api_version, served_kind.resource.kind] = custom_strategy(served_kind)
            self._objects.kinds.add(served_kind)

    def _clean_up(self, crd: Stored) -> None:
        """A CRD on its way out takes its objects along, and goes when they are gone."""
        if CLEANUP not in crd.manifest["metadata"].get("finalizers", ()):
            return
        kinds = served_kinds(crd.manifest)
        if kinds:
            collection = self._objects.collection(kinds[0])
            for stored in list(collection.select()):
                if collection.get(*stored.key) is not None:
                    self._objects.delete(kinds[0], *stored.key, DeleteOptions())
            crds = self._objects.collection(self._crds)
            if len(collection) or (current := crds.get(*crd.key)) is None or current.uid != crd.uid:
                return

        def release(manifest: Manifest) -> Manifest:
            finalizers = manifest["metadata"].get("finalizers", [])
            manifest["metadata"]["finalizers"] = [item for item in finalizers if item != CLEANUP]
            return manifest

        self._objects.update(self._crds, *crd.key, release)


def served_kinds(crd: Manifest) -> list[ServedKind]:
    """The kinds that a (valid) CRD adds, one for each served version, the preferred version first; none while it waits
    for its names.
    """
    conditions = (crd.get("status") or {}).get("conditions") or ()
    if any(item.get("type") == "Established" and item.get("status") != "True" for item in conditions):
        return []
    spec = crd["spec"]
    storage_version = next(version["name"] for version in spec["versions"] if version["storage"])
    kinds = [_served_kind(spec, version, storage_version) for version in spec["versions"] if version["served"]]
    return sorted(kinds, key=lambda kind: _priority(kind.resource.version))


def _served_kind(spec: Manifest, version: Manifest, storage_version: str) -> ServedKind:
    names, subresources = spec["names"], version.get("subresources") or {}
    served_beside = []
    scale = None
    if "status" in subresources:
        served_beside.append(Subresource("status", names["kind"], spec["group"], version["name"], _UPDATE))
    if (paths := subresources.get("scale")) is not None:
        scale = ScalePaths(
            paths.get("specReplicasPath", ""), paths.get("statusReplicasPath", ""), paths.get("labelSelectorPath", "")
        )
        served_beside.append(Subresource("scale", "Scale", "autoscaling", "v1", _UPDATE))
    resource = Resource(
        spec["group"],
        version["name"],
        names["kind"],
        names["plural"],
        spec["scope"] == "Namespaced",
        names.get("singular", ""),
        tuple(names.get("shortNames") or ()),
        frozenset(sub.name for sub in served_beside),
    )
    columns = tuple(
        Column(
            column["name"],
            column["type"],
            column["jsonPath"],
            column.get("description", ""),
            column.get("format", ""),
            column.get("priority", 0),
        )
        for column in version.get("additionalPrinterColumns") or ()
    )
    return ServedKind(
        resource,
        categories=tuple(names.get("categories") or ()),
        columns=columns,
        subresources=tuple(served_beside),
        scale=scale,
        schema=(version.get("schema") or {}).get("openAPIV3Schema"),
        selectable=tuple(field["jsonPath"].lstrip(".") for field in version.get("selectableFields") or ()),
        deprecation=_deprecation(spec, version),
        verbs=_VERBS,
        custom=True,
        storage=resource.qualified_plural,
        storage_version=storage_version,
    )


def _deprecation(spec: Manifest, version: Manifest) -> str:
    if not version.get("deprecated"):
        return ""
    unsaid = f"{spec['group']}/{version['name']} {spec['names']['kind']} is deprecated"
    return str(version.get("deprecationWarning") or unsaid)


def _priority(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order of versions: v2, v1, v1beta2, v1alpha1, then the rest by name."""
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), version)


def custom_strategy(kind: ServedKind) -> Strategy:
    schema = kind.schema or {"x-kubernetes-preserve-unknown-fields": True}
    rules = cache(partial(Rules, schema))  # with the first object: a schema of pods is long to look through
    embedded = cache(partial(Embedded, schema))
    return Strategy(
        decode=partial(prune, schema=schema, root=True),
        default=partial(fill_defaults, schema=schema),
        validate=partial(_validate, schema, rules, embedded),
        unconditional_update=False,
        keeps_status=not kind.status,
        fields={path: path for path in kind.selectable},
    )


def _validate(
    schema: Manifest,
    rules: Callable[[], Rules],
    embedded: Callable[[], Embedded],
    manifest: Manifest,
    previous: Manifest | None,
) -> list[FieldError]:
    errors = validate(manifest, schema, previous)
    if places := embedded():
        errors += places.problems(manifest)
    return with_rules(errors, rules(), manifest, previous)
