"""The rules of a CRD's schemas that hold at every place of them: what OpenAPI has and Kubernetes has not, and what the
`x-kubernetes` extensions for lists and maps may say. What makes a schema structural is `structural.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.schema import EMBEDDED, PRESERVE
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, required, unsupported

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_METADATA = ("metadata", "kind", "apiVersion")
_LISTS, _MAPS = ("atomic", "set", "map"), ("atomic", "granular")
_LIST, _MAP, _KEYS = "x-kubernetes-list-type", "x-kubernetes-map-type", "x-kubernetes-list-map-keys"
_AT_ROOT = {
    "description": "Description", "type": "Type", "format": "Format", "title": "Title", "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum", "minimum": "Minimum", "exclusiveMinimum": "ExclusiveMinimum",
    "maxLength": "MaxLength", "minLength": "MinLength", "pattern": "Pattern", "maxItems": "MaxItems",
    "minItems": "MinItems", "uniqueItems": "UniqueItems", "multipleOf": "MultipleOf", "required": "Required",
    "items": "Items", "properties": "Properties", "externalDocs": "ExternalDocs", "example": "Example",
    PRESERVE: "XPreserveUnknownFields", "x-kubernetes-validations": "XValidations",
}  # fmt: skip


def root_problems(schema: Manifest, place: str, *, status: bool) -> Iterator[FieldError]:
    """Of the whole schema; `status`: the status is served beside the object, and its schema taken out of this one."""
    said = {key for key, value in schema.items() if value not in (None, "", False, 0, [], {})}
    if status and schema.get("type") and schema["type"] != "object":
        why = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        yield invalid_value(f"{place}.type", schema["type"], why)
    elif status and not said <= set(_AT_ROOT):
        names = " ".join(_AT_ROOT.values())
        why = f"only [{names}] fields are allowed at the root of the schema if the status subresource is enabled"
        yield invalid_value(place, schema, why)
    if schema.get("nullable"):
        yield forbidden_field(f"{place}.nullable", "nullable cannot be true at the root")


def schema_problems(schema: Any, place: str, *, root: bool = True, about: str = "") -> Iterator[FieldError]:
    """In the words of the server that refuses such a CRD. `about` says why no default may be here; empty: it may."""
    if not isinstance(schema, dict):
        yield required(place, "must be an object")
        return
    yield from _unsupported(schema, place, about)
    yield from _extensions(schema, place)
    properties, additional, items = (schema.get(name) for name in ("properties", "additionalProperties", "items"))
    if properties and additional is not None and additional is not True:
        why = "additionalProperties and properties are mutual exclusive"
        yield forbidden_field(f"{place}.additionalProperties", why)
    if isinstance(additional, dict):
        yield from schema_problems(additional, f"{place}.additionalProperties", root=False, about=about)
    for name, inner in (properties if isinstance(properties, dict) else {}).items():
        inside = f"in top-level {name}" if root and name in _METADATA else about
        yield from schema_problems(inner, f"{place}.properties[{name}]", root=False, about=inside)
    if isinstance(items, dict):
        yield from schema_problems(items, f"{place}.items", root=False, about=about)
    elif isinstance(items, list):
        yield forbidden_field(f"{place}.items", "items must be a schema object and not an array")
    for junctor in ("allOf", "oneOf", "anyOf"):
        listed = schema.get(junctor)
        for index, inner in enumerate(listed if isinstance(listed, list) else ()):
            yield from schema_problems(inner, f"{place}.{junctor}[{index}]", root=False, about=about)
    if isinstance(inner := schema.get("not"), dict):
        yield from schema_problems(inner, f"{place}.not", root=False, about=about)


def _unsupported(schema: Manifest, place: str, about: str) -> Iterator[FieldError]:
    kind = schema.get("type") or ""
    if kind and kind not in _TYPES:
        yield unsupported(f"{place}.type", kind, _TYPES)
    if about and schema.get("default") is not None:
        yield forbidden_field(f"{place}.default", f"must not be set {about}")
    for name in _UNSUPPORTED:
        if schema.get(name) not in (None, "", {}):
            yield forbidden_field(f"{place}.{name}", f"{name} is not supported")
    if kind == "null":
        yield forbidden_field(f"{place}.type", "type cannot be set to null, use nullable as an alternative")
    if about.startswith("in top-level") and schema.get(EMBEDDED):
        yield forbidden_field(f"{place}.{EMBEDDED}", "must not be used inside of resource meta")
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden_field(f"{place}.uniqueItems", why)
    if schema.get(PRESERVE) is False:
        yield invalid_value(f"{place}.{PRESERVE}", False, "must be true or undefined")


def _extensions(schema: Manifest, place: str) -> Iterator[FieldError]:
    kind, map_type, list_type = schema.get("type") or "", schema.get(_MAP), schema.get(_LIST)
    for said, extension, needed, allowed in (
        (map_type, _MAP, "object", _MAPS),
        (list_type, _LIST, "array", _LISTS),
    ):
        if said is None:
            continue
        if kind != needed:
            why = f"must be {needed} if {extension} is specified"
            yield invalid_value(f"{place}.type", kind, why) if kind else required(f"{place}.type", why)
        if said not in allowed:
            yield unsupported(f"{place}.{extension}", said, allowed)
    items = schema.get("items")
    if list_type == "set" and kind == "array" and isinstance(items, dict):
        why = "must be atomic as item of a list with x-kubernetes-list-type=set"
        if items.get("type") == "array" and items.get(_LIST) not in (None, "atomic"):
            yield invalid_value(f"{place}.items.{_LIST}", items.get(_LIST), why)
        if items.get("type") == "object" and items.get(_MAP) != "atomic":
            yield invalid_value(f"{place}.items.{_MAP}", items.get(_LIST), why)
    keys = schema.get(_KEYS) or []
    if keys and list_type != "map":
        why = "must be map if x-kubernetes-list-map-keys is non-empty"
        where = f"{place}.{_LIST}"
        yield required(where, why) if list_type is None else invalid_value(where, list_type, why)
    if list_type == "map":
        yield from _map_problems(items, keys, place)
    if list_type in ("map", "set") and isinstance(items, dict):
        yield from _item_problems(items, keys if list_type == "map" else [], list_type, place)


def _map_problems(items: Any, keys: list[str], place: str) -> Iterator[FieldError]:
    if not keys:
        yield required(f"{place}.{_KEYS}", "must not be empty if x-kubernetes-list-type is map")
    if items is None:
        yield required(f"{place}.items", "must have a schema if x-kubernetes-list-type is map")
    if not isinstance(items, dict):
        return
    if items.get("type") != "object":
        why = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid_value(f"{place}.items.type", items.get("type") or "", why)
        return
    known = items.get("properties") or {}
    for index, key in enumerate(keys):
        if key not in known:
            yield invalid_value(f"{place}.{_KEYS}", keys, "entries must all be names of item properties")
        elif known[key].get("type") in ("array", "object"):
            why = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield invalid_value(f"{place}.items.properties[{key}].type", items.get("type"), why)
        if key in keys[:index]:
            yield invalid_value(f"{place}.{_KEYS}", keys, "must not contain duplicate entries")


def _item_problems(items: Manifest, keys: list[str], list_type: str, place: str) -> Iterator[FieldError]:
    if items.get("nullable"):
        yield forbidden_field(
            f"{place}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {list_type}"
        )
    known = items.get("properties") or {}
    for key in keys:
        where, property_ = f"{place}.items.properties[{key}]", known.get(key)
        if not isinstance(property_, dict):
            continue
        if key not in (items.get("required") or ()) and property_.get("default") is None:
            why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{where}.default", why)
        if property_.get("nullable"):
            why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            yield forbidden_field(f"{where}.nullable", why)
