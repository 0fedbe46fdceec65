"""Strategic merge patch: a merge patch that knows, for built-in kinds, which lists merge and by what key."""

from __future__ import annotations

from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.status import bad_request

DIRECTIVE = "$patch"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_RETAIN = "$retainKeys"

MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "secrets": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey",),
    "resourceClaims": ("name",),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
    "podIPs": ("ip",),
    "addresses": ("type",),
    "subjects": (),
}
"""The lists that merge, by field name; `ports` has two keys and is looked at by what its items hold."""
_PRIMITIVE_LISTS = frozenset({"finalizers"})


def merge_key(field: str, items: list[Any]) -> str:
    """The key by which a list's items are matched, empty for a list that is replaced."""
    if field == "ports":
        return "containerPort" if any("containerPort" in item for item in items if isinstance(item, dict)) else "port"
    keys = MERGE_KEYS.get(field, ())
    return keys[0] if keys else ""


def strategic_patch(target: Any, patch: Any) -> Any:
    """`patch` applied to `target`, which may be changed in place. Raises BadRequest for a malformed directive."""
    if not isinstance(patch, dict):
        return patch
    patch = dict(patch)
    match patch.pop(DIRECTIVE, None):
        case None | "merge":
            pass
        case "replace":
            return patch
        case "delete":
            return {}
        case other:
            raise bad_request(f"Unknown patch directive {other!r}")
    if not isinstance(target, dict):
        target = {}
    retained = patch.pop(_RETAIN, None)
    if isinstance(retained, list):
        for key in [key for key in target if key not in retained]:
            del target[key]
    orders = {key.removeprefix(_ORDER): patch.pop(key) for key in list(patch) if key.startswith(_ORDER)}
    for key in [key for key in patch if key.startswith(_DELETE_FROM)]:
        gone = patch.pop(key)
        field = key.removeprefix(_DELETE_FROM)
        if isinstance(target.get(field), list) and isinstance(gone, list):
            target[field] = [item for item in target[field] if item not in gone]
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            target[key] = strategic_patch(target.get(key), value)
        elif isinstance(value, list):
            target[key] = _merge_list(key, target.get(key), value)
        else:
            target[key] = value
    for field, order in orders.items():
        if isinstance(target.get(field), list) and isinstance(order, list):
            target[field] = _in_order(field, target[field], order)
    return target


def _merge_list(field: str, present: Any, items: list[Any]) -> list[Any]:
    present = present if isinstance(present, list) else []
    if field in _PRIMITIVE_LISTS:
        return [*present, *(item for item in items if item not in present)]
    key = merge_key(field, [*items, *present])
    if not key or not all(isinstance(item, dict) for item in (*present, *items)):
        return [item for item in items if not (isinstance(item, dict) and DIRECTIVE in item)]
    if any(item.get(DIRECTIVE) == "replace" for item in items):
        return [item for item in items if item.get(DIRECTIVE) != "replace"]
    merged: list[Manifest] = list(present)
    added: list[Manifest] = []
    for item in items:
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        matching = [other for other in merged if other.get(key) == item[key]]
        if item.get(DIRECTIVE) == "delete":
            merged = [other for other in merged if other.get(key) != item[key]]
        elif matching:
            merged[merged.index(matching[0])] = strategic_patch(matching[0], item)
        else:
            added.append(strategic_patch({}, item))
    return added + merged


def _in_order(field: str, items: list[Any], order: list[Any]) -> list[Any]:
    """Items in the order that the client asks for; those that it does not know keep their place among the others."""
    key = merge_key(field, items)
    wanted = [item.get(key) if isinstance(item, dict) and key else item for item in order]

    def position(item: Any) -> int:
        value = item.get(key) if isinstance(item, dict) and key else item
        return wanted.index(value) if value in wanted else len(wanted)

    return sorted(items, key=position)
