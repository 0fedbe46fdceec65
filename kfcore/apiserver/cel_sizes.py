"""How large the values of a schema can be in one request: what an estimate of a CEL rule's cost multiplies."""

from __future__ import annotations

from kfcore.api.meta import Manifest

REQUEST_BYTES = 3 * 1024 * 1024
UNKNOWN = (1 << 64) - 1
_LEAST = {"string": 2, "boolean": 4, "integer": 1, "number": 1, "array": 2, "object": 2}
_TIMES = {"duration": (3, 32), "date": (12, 12), "date-time": (21, 37)}
"""The fewest bytes of JSON that a time takes, and the most."""


def least_bytes(schema: Manifest) -> int:
    """The fewest bytes of JSON that a value of `schema` takes."""
    if schema.get("x-kubernetes-int-or-string"):
        return 1
    least = _LEAST.get(schema.get("type") or "", 1)
    if schema.get("type") == "string" and (bounds := _TIMES.get(schema.get("format") or "")):
        return bounds[0]
    properties = schema.get("properties") or {}
    for name in schema.get("required") or ():
        inner = properties.get(name)
        if schema.get("type") == "object" and isinstance(inner, dict) and "default" not in inner:
            least += len(name) + least_bytes(inner) + 4
    return least


def most_elements(schema: Manifest) -> int:
    """The most bytes of a text, items of a list or entries of a map; 0 for what has no size."""
    match schema.get("type"):
        case "string":
            return _most_bytes(schema)
        case "array":
            items = schema.get("items")
            least = least_bytes(items) if isinstance(items, dict) else 1
            return int(schema.get("maxItems", (REQUEST_BYTES - 2) // (least + 1)))
        case "object":
            inner = schema.get("additionalProperties")
            if isinstance(inner, dict):
                return int(schema.get("maxProperties", (REQUEST_BYTES - 2) // (least_bytes(inner) + 6)))
    return 0


def most_often(schema: Manifest) -> int:
    """How often a value of `schema` can be in a request, where nothing bounds how often it may be."""
    return REQUEST_BYTES // (least_bytes(schema) + 1)


def _most_bytes(schema: Manifest) -> int:
    form = schema.get("format") or ""
    if form in _TIMES:
        return _TIMES[form][1]
    if (longest := schema.get("maxLength")) is not None:
        return int(longest) if form == "byte" else int(longest) * 4
    if choices := schema.get("enum"):
        return max(len(str(choice)) for choice in choices)
    return REQUEST_BYTES - 2
