"""Sets of fields as managedFields writes them (FieldsV1): `f:name`, `k:{…}` and `v:…` to their children; `.` is the
place itself.
"""

from __future__ import annotations

from typing import Any

from kfcore.api.codec import decode_json, encode_json
from kfcore.apiserver.typed import Typed

Fields = dict[str, Any]


def item_name(item: Any, type_: Typed) -> str:
    """What an item of a merging list (of `type_`) is known by."""
    if not type_.keys or not isinstance(item, dict):
        return f"v:{encode_json(item).decode()}"
    defaults = type_.key_defaults
    named = {key: item.get(key, defaults.get(key)) for key in sorted(type_.keys)}
    return f"k:{encode_json({key: value for key, value in named.items() if value is not None}).decode()}"


def union(left: Fields, right: Fields) -> Fields:
    merged = dict(left)
    for name, children in right.items():
        merged[name] = union(merged.get(name, {}), children)
    return merged


def take_away(fields: Fields, path: tuple[str, ...]) -> None:
    """Remove the field at `path` from a field set, in place, and the parents that this leaves empty."""
    name, *rest = path
    if name not in fields:
        return
    if rest:
        take_away(fields[name], tuple(rest))
        if not fields[name]:
            del fields[name]
    else:
        del fields[name]


def dotted(path: tuple[str, ...]) -> str:
    """A field's path as messages name it: `.spec.ports[port=80,protocol="TCP"].name`."""
    text = ""
    for part in path:
        kind, rest = part[:2], part[2:]
        if kind == "f:":
            text += f".{rest}"
        elif kind == "i:":
            text += f"[{rest}]"
        elif kind == "k:":
            pairs = decode_json(rest.encode())
            text += "[" + ",".join(f"{key}={encode_json(value).decode()}" for key, value in pairs.items()) + "]"
        else:
            text += f"[={rest}]"
    return text
