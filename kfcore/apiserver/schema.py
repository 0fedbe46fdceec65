"""Structural schemas at work on an object: what they do not name is pruned, what they default is filled in.

A schema is a CRD's `openAPIV3Schema` as JSON. Metadata and the type fields are the API server's own, never a schema's.
"""

from __future__ import annotations

from typing import Any

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest

PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
_TYPE_FIELDS = ("apiVersion", "kind", "metadata")


def prune(value: Any, schema: Manifest, *, root: bool = False, place: str = "") -> list[str]:
    """Remove, in place, what `schema` does not name; returns the places of what was removed."""
    removed: list[str] = []
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        additional = schema.get("additionalProperties")
        keeps = bool(schema.get(PRESERVE)) or additional is True
        own = _TYPE_FIELDS if root or schema.get(EMBEDDED) else ()
        for key in list(value):
            if key in own:
                continue
            inside = f"{place}.{key}" if place else key
            if type(value[key]) is float and value[key].is_integer():
                value[key] = int(value[key])  # as Go writes it
            if key in properties:
                removed += prune(value[key], properties[key], place=inside)
            elif isinstance(additional, dict):
                removed += prune(value[key], additional, place=inside)
            elif not keeps:
                del value[key]
                removed.append(inside)
    elif isinstance(value, list):
        items = schema.get("items")
        if not isinstance(items, dict):
            items = {PRESERVE: True} if schema.get(PRESERVE) else {}
        for index, item in enumerate(value):
            removed += prune(item, items, place=f"{place}[{index}]")
    return removed


def fill_defaults(value: Any, schema: Manifest) -> None:
    """Fill in, in place, what `schema` has defaults for; null counts as absent where the schema forbids null."""
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        for key, inner in properties.items():
            if "default" in inner and (key not in value or (value[key] is None and not inner.get("nullable"))):
                value[key] = decode_json(encode_json(inner["default"]))
            if key in value:
                fill_defaults(value[key], inner)
        additional = schema.get("additionalProperties")
        if isinstance(additional, dict):
            for key, inner_value in value.items():
                if key in properties:
                    continue
                if inner_value is None and "default" in additional and not additional.get("nullable"):
                    value[key] = decode_json(encode_json(additional["default"]))
                fill_defaults(value[key], additional)
    elif isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for item in value:
                fill_defaults(item, items)
