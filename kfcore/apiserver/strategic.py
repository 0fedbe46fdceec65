"""Strategic merge patch: a merge patch that knows, for built-in kinds, which lists merge and by what key."""

from __future__ import annotations

from typing import Any

from kfcore.apiserver.status import bad_request, go_map
from kfcore.apiserver.typed import ANY, Typed
from kfcore.client.errors import Invalid, StatusDetails

DIRECTIVE = "$patch"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_RETAIN = "$retainKeys"


def strategic_patch(target: Any, patch: Any, type_: Typed) -> Any:
    """`patch` applied to `target`, of `type_`, which may be changed in place.

    Raises BadRequest or Invalid for a directive that is none.
    """
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
            raise bad_request(f"unknown patch type [{other}] in map: map[{DIRECTIVE}:{other}]")
    if not isinstance(target, dict):
        target = {}
    orders = {key.removeprefix(_ORDER): _listed(patch.pop(key)) for key in list(patch) if key.startswith(_ORDER)}
    _retain(target, patch)
    for key in [key for key in patch if key.startswith(_DELETE_FROM)]:
        gone = patch.pop(key)
        field = key.removeprefix(_DELETE_FROM)
        if not isinstance(gone, list):
            raise bad_request("invalid patch format of primitive list")
        if isinstance(target.get(field), list):
            target[field] = [item for item in target[field] if item not in gone]
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            target[key] = strategic_patch(target.get(key), value, type_.member(key) or ANY)
        elif isinstance(value, list):
            target[key] = _merge_list(target.get(key), value, type_.member(key) or ANY, orders.pop(key, None))
        else:
            target[key] = value
    for field, order in orders.items():
        if isinstance(present := target.get(field), list):
            member = type_.member(field) or ANY
            target[field] = _in_order(present, present, order, order, member.patch_key)
    return target


def _retain(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """What is not among the retained keys goes: the other members of a union."""
    retained = patch.pop(_RETAIN, None)
    if retained is None:
        return
    said = [key for key, value in patch.items() if value is not None and not key.startswith("$")]
    if not isinstance(retained, list):
        raise bad_request("invalid patch format of retainKeys")
    if not set(said) <= set(map(str, retained)):
        raise Invalid("the server rejected our request due to an error in our request", details=StatusDetails())
    for key in [key for key in target if key not in retained]:
        del target[key]


def _listed(order: Any) -> list[Any]:
    if not isinstance(order, list):
        raise bad_request("invalid patch format of setElementOrder list")
    return order


def _merge_list(present: Any, items: list[Any], type_: Typed, order: list[Any] | None) -> list[Any]:
    present = present if isinstance(present, list) else []
    key = type_.patch_key
    if key == "":
        return _in_order(present, [*present, *(i for i in items if i not in present)], items, order or items, key)
    if key is None or not all(isinstance(item, dict) for item in (*present, *items)):
        return [item for item in items if not (isinstance(item, dict) and DIRECTIVE in item)]
    if any(item.get(DIRECTIVE) == "replace" for item in items):
        return [item for item in items if item.get(DIRECTIVE) != "replace"]
    merged = list(present)
    for item in items:
        if key not in item:
            raise bad_request(f"map: {go_map(item)} does not contain declared merge key: {key}")
        index = next((number for number, other in enumerate(merged) if other.get(key) == item[key]), None)
        if item.get(DIRECTIVE) == "delete":
            merged = [other for other in merged if other.get(key) != item[key]]
        elif index is None:
            merged.append(strategic_patch({}, item, type_.item()))
        else:
            merged[index] = strategic_patch(merged[index], item, type_.item())
    return _in_order(present, merged, items, order or items, key)


def _in_order(before: list[Any], merged: list[Any], items: list[Any], order: list[Any], key: str | None) -> list[Any]:
    """The items of the patch in the order that it names, and between them those that only the server has, where they
    stood before.
    """

    def name(item: Any) -> Any:
        return item.get(key) if isinstance(item, dict) and key else item

    stood, wanted = [name(item) for item in before], [name(item) for item in order]
    patched = [name(item) for item in items]
    rest = iter(wanted)
    kept = [name(item) for item in items if not (isinstance(item, dict) and item.get(DIRECTIVE) == "delete")]
    if not all(one in rest for one in kept):  # the order may name more
        said = (
            f"The order in patch list:\n{go_map(items)}\n doesn't match {_ORDER.rstrip('/')} list:\n{go_map(order)}\n"
        )
        raise bad_request(said)
    theirs = [item for item in merged if name(item) in patched]
    theirs.sort(key=lambda item: wanted.index(name(item)) if name(item) in wanted else len(wanted))
    servers = [item for item in merged if name(item) not in patched]
    made: list[Any] = []
    while theirs and servers:
        ours, other = name(servers[0]), name(theirs[0])
        first = ours in stood and other in stood and stood.index(ours) < stood.index(other)
        made.append(servers.pop(0) if first else theirs.pop(0))
    return [*made, *theirs, *servers]
