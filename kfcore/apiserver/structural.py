"""What keeps a CRD's schema from being structural: a place without a type, types and defaults under `anyOf`,
metadata that is described, a default that its own schema refuses. The rules of every schema are `schema_rules.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.schema import EMBEDDED, PRESERVE, prune
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, required
from kfcore.apiserver.validation import INT_OR_STRING, validate_value

_MALFORMED = {
    "unterminated character set": "missing closing ]",
    "unterminated subpattern": "missing closing )",
    "unbalanced parenthesis": "unexpected )",
    "nothing to repeat": "missing argument to repetition operator",
    "repetition number is too large": "invalid repeat count",
}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_NESTED = (
    ("type", "must be empty"), ("additionalProperties", "must be undefined"), ("default", "must be undefined"),
    ("title", "must be empty"), ("description", "must be empty"), ("nullable", "must be false"),
    (PRESERVE, "must be false"), (EMBEDDED, "must be false"), (INT_OR_STRING, "must be false"),
    ("x-kubernetes-list-map-keys", "must be empty"), ("x-kubernetes-list-type", "must be undefined"),
    ("x-kubernetes-map-type", "must be undefined"),
)  # fmt: skip
_JUNCTORS = ("anyOf", "allOf", "oneOf")
_ROOT, _FIELD, _ITEM = "at the root", "for specified object fields", "for specified array items"


def structural_problems(schema: Manifest, place: str) -> list[FieldError]:
    """In the words of the server that refuses such a CRD; `place` is where the schema is."""
    problems = [*_problems(schema, place, _ROOT), *_incomplete(schema, place)]
    return sorted(problems, key=lambda error: f"{error.field}: {error.message}") or list(
        _defaults(schema, place, root=True)
    )


def _parts(schema: Manifest, place: str) -> Iterator[tuple[Manifest, str, str]]:
    """The schemas of what a value is made of, where they are, and what they are for."""
    for name, inner in _mapping(schema.get("properties")).items():
        if isinstance(inner, dict):
            yield inner, f"{place}.properties[{name}]", _FIELD
    if isinstance(inner := schema.get("additionalProperties"), dict):
        yield inner, f"{place}.additionalProperties", _FIELD
    if isinstance(inner := schema.get("items"), dict):
        yield inner, f"{place}.items", _ITEM


def _junctions(schema: Manifest, place: str) -> Iterator[tuple[Manifest, str]]:
    """The schemas that only say more of a value: under `anyOf`, `allOf`, `oneOf` and `not`."""
    for junctor in _JUNCTORS:
        listed = schema.get(junctor)
        for index, inner in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(inner, dict):
                yield inner, f"{place}.{junctor}[{index}]"
    if isinstance(inner := schema.get("not"), dict):
        yield inner, f"{place}.not"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _problems(schema: Manifest, place: str, which: str) -> Iterator[FieldError]:
    if schema.get("type") == "array" and schema.get("items") is None:
        yield required(f"{place}.items", "must be specified")
    if which == _ROOT and schema.get("additionalProperties") is not None:
        yield forbidden_field(f"{place}.additionalProperties", "must not be used at the root")
    for name in (PRESERVE, EMBEDDED):
        if schema.get(INT_OR_STRING) and schema.get(name):
            yield invalid_value(f"{place}.{name}", True, "must be false if x-kubernetes-int-or-string is true")
    yield from _pattern_problems(schema.get("pattern"), place)
    yield from _type_problems(schema, place, which)
    yield from _metadata_problems(schema, place, which)
    free = (_INT_OR_STRING, f"{place}.anyOf[")
    if (first := schema.get("allOf")) and _mapping(first[0]).get("anyOf") == _INT_OR_STRING:
        free = (_INT_OR_STRING, f"{place}.allOf[0].anyOf[")
    elif schema.get("anyOf") != _INT_OR_STRING:
        free = ([], " ")
    for inner, where in _junctions(schema, place):
        yield from _nested(inner, where, free[1])
    for inner, where, what in _parts(schema, place):
        yield from _problems(inner, where, what)


def _nested(schema: Manifest, place: str, free: str) -> Iterator[FieldError]:
    """Of what only says more of a value; `free` is where the two types of a number or text may be."""
    if place.startswith(free):
        return
    yield from _pattern_problems(schema.get("pattern"), place)
    for name, why in _NESTED:
        if schema.get(name) not in (None, "", False, []) or (name == "additionalProperties" and name in schema):
            yield forbidden_field(f"{place}.{name}", f"{why} to be structural")
    if "metadata" in _mapping(schema.get("properties")):
        yield forbidden_field(f"{place}.properties[metadata]", "must not be specified in a nested context")
    for inner, where in _junctions(schema, place):
        yield from _nested(inner, where, free)
    for inner, where, _ in _parts({**schema, "additionalProperties": None}, place):
        yield from _nested(inner, where, " ")


def _type_problems(schema: Manifest, place: str, which: str) -> Iterator[FieldError]:
    kind = schema.get("type") or ""
    if schema.get(EMBEDDED) and kind != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid_value(f"{place}.type", kind, why) if kind else required(f"{place}.type", why)
    elif not kind and not schema.get(INT_OR_STRING) and not schema.get(PRESERVE):
        yield required(f"{place}.type", f"must not be empty {which}")
    if which == _ROOT and kind and kind != "object":
        yield invalid_value(f"{place}.type", kind, "must be object at the root")
    if schema.get(EMBEDDED):
        if schema.get("additionalProperties") is not None:
            why = "must not be used if x-kubernetes-embedded-resource is set"
            yield forbidden_field(f"{place}.additionalProperties", why)
        if not schema.get(PRESERVE) and not schema.get("properties"):
            why = "must not be empty if x-kubernetes-embedded-resource is true without"
            yield required(f"{place}.properties", f"{why} x-kubernetes-preserve-unknown-fields")


def _metadata_problems(schema: Manifest, place: str, which: str) -> Iterator[FieldError]:
    """Of an object that has metadata of its own, which a schema may only name."""
    if which != _ROOT and not schema.get(EMBEDDED):
        return
    properties = _mapping(schema.get("properties"))
    for name, kind in (("kind", "string"), ("apiVersion", "string"), ("metadata", "object")):
        found = properties.get(name)
        if isinstance(found, dict) and found.get("type") != kind:
            yield invalid_value(f"{place}.properties[{name}].type", found.get("type") or "", f"must be {kind}")
    metadata = properties.get("metadata")
    if which != _ROOT or not isinstance(metadata, dict):
        return
    described = set(metadata) - {"type", "default"} - ({"properties"} if metadata.get("properties") else set())
    if described or not set(_mapping(metadata.get("properties"))) <= {"generateName", "name"}:
        why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield forbidden_field(f"{place}.properties[metadata]", why)


def _pattern_problems(pattern: Any, place: str) -> Iterator[FieldError]:
    """Go's syntax is another one: only what is malformed in both is reported."""
    if not isinstance(pattern, str):
        return
    try:
        re.compile(pattern)
    except (re.error, OverflowError) as error:
        for found, why in _MALFORMED.items():
            if found in str(error):
                said = f"must be a valid regular expression, but isn't: error parsing regexp: {why}: `{pattern}`"
                yield invalid_value(f"{place}.pattern", pattern, said)


def _incomplete(schema: Manifest, place: str) -> Iterator[FieldError]:
    """What is spoken of under a junctor must be there without it."""
    for inner, where in _junctions(schema, place):
        yield from _missing(inner, schema, place, where)
    for inner, where, _ in _parts(schema, place):
        yield from _incomplete(inner, where)


def _missing(nested: Manifest, schema: Any, place: str, where: str) -> Iterator[FieldError]:
    if not isinstance(schema, dict):
        yield required(place, f"because it is defined in {where}")
        return
    for inner, inside in _junctions(nested, where):
        yield from _missing(inner, schema, place, inside)
    if isinstance(items := nested.get("items"), dict):
        yield from _missing(items, schema.get("items"), f"{place}.items", f"{where}.items")
    known = _mapping(schema.get("properties"))
    for name, inner in _mapping(nested.get("properties")).items():
        if isinstance(inner, dict):
            yield from _missing(inner, known.get(name), f"{place}.properties[{name}]", f"{where}.properties[{name}]")


def _defaults(schema: Manifest, place: str, *, root: bool = False) -> Iterator[FieldError]:
    for inner, where, _ in _parts(schema, place):
        yield from _defaults(inner, where)
    if "default" not in schema:
        return
    value = schema["default"]
    if value is None and schema.get("nullable"):
        return
    if value is not None and prune(decode_json(encode_json(value)), schema, root=root or bool(schema.get(EMBEDDED))):
        yield invalid_value(f"{place}.default", value, "must not have unknown fields")
    for error in validate_value(value, schema):
        where = f"{place}.default{'.' + error.field if error.field else ''}"
        yield FieldError(error.reason, where, error.message)
