"""Nodes: what an update of one keeps, and the rules that users meet."""

from __future__ import annotations

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import label_value, qualified_name
from kfcore.apiserver.status import FieldError, duplicate, invalid_value, required, unsupported

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def keep_status(node: Manifest, previous: Manifest) -> None:
    """A new node may bring its status along; from then on `/status` is the way to it."""
    if "status" in previous:
        node["status"] = previous["status"]
    else:
        node.pop("status", None)


def validate_node(node: Manifest, previous: Manifest | None) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate((node.get("spec") or {}).get("taints") or ()):
        place, key, effect = f"spec.taints[{index}]", taint.get("key") or "", taint.get("effect") or ""
        errors += [invalid_value(f"{place}.key", key, why) for why in qualified_name(key)]
        if value := taint.get("value"):
            errors += [invalid_value(f"{place}.value", value, why) for why in label_value(value)]
        if not effect:
            errors.append(required(f"{place}.effect"))
        elif effect not in _EFFECTS:
            errors.append(unsupported(f"{place}.effect", effect, _EFFECTS))
        if (key, effect) in seen:
            errors.append(duplicate(place, taint))
        seen.add((key, effect))
    return errors
