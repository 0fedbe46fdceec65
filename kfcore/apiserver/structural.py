"""What keeps a CRD's schema from being structural: a place without a type, a default that its own schema refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.schema import PRESERVE
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, required, unsupported
from kfcore.apiserver.validation import INT_OR_STRING, validate_value

_MALFORMED = {
    "unterminated character set": "missing closing ]",
    "unterminated subpattern": "missing closing )",
    "unbalanced parenthesis": "unexpected )",
    "nothing to repeat": "missing argument to repetition operator",
}
_TYPES = ("array", "boolean", "integer", "number", "object", "string")


def schema_problems(schema: Manifest, place: str) -> list[FieldError]:
    """In the words of the server that refuses such a CRD; `place` is where the schema is."""
    return list(_problems(schema, place, "at the root"))


def _problems(schema: Any, place: str, which: str) -> Iterator[FieldError]:
    if not isinstance(schema, dict):
        yield required(place, "must be an object")
        return
    yield from _type_problems(schema, place, which)
    if schema.get("$ref"):
        yield forbidden_field(f"{place}.$ref", "$ref is not supported")
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden_field(f"{place}.uniqueItems", why)
    properties, additional, items = (schema.get(name) for name in ("properties", "additionalProperties", "items"))
    if properties and additional:
        yield forbidden_field(
            f"{place}.additionalProperties", "additionalProperties and properties are mutual exclusive"
        )
    if schema.get("type") == "array" and items is None:
        yield required(f"{place}.items", "must be specified")
    if schema.get("x-kubernetes-list-type") == "map":
        yield from _map_problems(schema, place)
    if which == "at the root":
        yield from _metadata_problems((properties or {}).get("metadata"), place)
    if pattern := schema.get("pattern"):
        yield from _pattern_problems(str(pattern), place)
    for name, inner in (properties or {}).items():
        yield from _problems(inner, f"{place}.properties[{name}]", "for specified object fields")
    if isinstance(additional, dict):
        yield from _problems(additional, f"{place}.additionalProperties", "for specified object fields")
    if isinstance(items, dict):
        yield from _problems(items, f"{place}.items", "for specified array items")
    if "default" in schema:
        yield from _default_problems(schema, place)


def _metadata_problems(metadata: Any, place: str) -> Iterator[FieldError]:
    allowed = {"generateName", "name"}
    if isinstance(metadata, dict) and not set(metadata.get("properties") or ()) <= allowed:
        why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield forbidden_field(f"{place}.properties[metadata]", why)


def _pattern_problems(pattern: str, place: str) -> Iterator[FieldError]:
    """Go's syntax is another one: only what is malformed in both is reported."""
    try:
        re.compile(pattern)
    except re.error as error:
        for found, why in _MALFORMED.items():
            if found in error.msg:
                said = f"must be a valid regular expression, but isn't: error parsing regexp: {why}: `{pattern}`"
                yield invalid_value(f"{place}.pattern", pattern, said)


def _type_problems(schema: Manifest, place: str, which: str) -> Iterator[FieldError]:
    kind = schema.get("type") or ""
    if kind and kind not in _TYPES:
        yield unsupported(f"{place}.type", kind, _TYPES)
    elif which == "at the root":
        if kind != "object":
            why = "must be object at the root" if kind else "must not be empty at the root"
            yield required(f"{place}.type", why)
    elif not kind and not schema.get(INT_OR_STRING) and not schema.get(PRESERVE):
        yield required(f"{place}.type", f"must not be empty {which}")


def _map_problems(schema: Manifest, place: str) -> Iterator[FieldError]:
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    if not keys:
        yield required(f"{place}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    item = schema.get("items")
    known = (item.get("properties") or {}) if isinstance(item, dict) else {}
    needed = (item.get("required") or ()) if isinstance(item, dict) else ()
    for index, key in enumerate(keys):
        where = f"{place}.x-kubernetes-list-map-keys[{index}]"
        if key not in known:
            yield invalid_value(where, key, "must be a property of the items")
        elif key not in needed and "default" not in known[key]:
            why = "this property must have a default or be a required property"
            yield required(
                f"{place}.items.properties[{key}].default", f"this property is in x-kubernetes-list-map-keys, {why}"
            )


def _default_problems(schema: Manifest, place: str) -> Iterator[FieldError]:
    value = schema["default"]
    if value is None and schema.get("nullable"):
        return
    for error in validate_value(value, schema):
        where = f"{place}.default{'.' + error.field if error.field else ''}"
        yield FieldError(error.reason, where, error.message)
