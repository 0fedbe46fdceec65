"""OpenAPI v3 validation of an object against a CRD's schema, with the server's field paths and words.

CEL rules are `rules.py`'s: they are evaluated where nothing here is broken that could mislead them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.rules import Rules
from kfcore.apiserver.schema import EMBEDDED
from kfcore.apiserver.status import FieldError, duplicate, go_value, invalid_value, required, unsupported
from kfcore.apiserver.string_formats import fits

INT_OR_STRING = "x-kubernetes-int-or-string"
_BLOCKING = frozenset(
    {"FieldValueTypeInvalid", "FieldValueRequired", "FieldValueNotSupported", "FieldValueTooMany", "FieldValueTooLong"}
)
_NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)


def validate(manifest: Manifest, schema: Manifest, previous: Manifest | None = None) -> list[FieldError]:
    """The rules of `schema` that `manifest` breaks, in the order of its fields.

    What an update left as it was in `previous` may stay, whatever the schema has become since.
    """
    errors: list[FieldError] = []
    _validate(manifest, schema, "", errors, root=True)
    if not errors or previous is None:
        return errors
    return [error for error in errors if not _unchanged(error.field, manifest, previous)]


def validate_value(value: Any, schema: Manifest) -> list[FieldError]:
    """The rules of `schema` that a value inside an object breaks."""
    errors: list[FieldError] = []
    _validate(value, schema, "", errors)
    return errors


def _unchanged(place: str, manifest: Any, previous: Any) -> bool:
    """Whether the value at `place` (`spec.parts[0].name`) is what it was. Items of lists are compared list by list."""
    for name in place.split("."):
        name, index, _ = name.partition("[")
        if not (isinstance(manifest, dict) and isinstance(previous, dict) and name in manifest and name in previous):
            return False
        manifest, previous = manifest[name], previous[name]
        if index:
            break
    return bool(manifest == previous)


def with_rules(
    errors: list[FieldError], rules: Rules, manifest: Manifest, previous: Manifest | None
) -> list[FieldError]:
    """`errors`, and the CEL rules that are broken; errors that would mislead those keep them from being evaluated."""
    if not rules:
        return errors
    if any(error.reason in _BLOCKING for error in errors):
        return [*errors, FieldError("FieldValueInvalid", "<nil>", f"Invalid value: null: {_NOT_CHECKED}")]
    return [*errors, *rules.violations(manifest, previous)]


def _validate(value: Any, schema: Manifest, place: str, errors: list[FieldError], *, root: bool = False) -> None:
    if value is None and schema.get("nullable"):
        return
    expected = _expected_type(schema)
    if expected and not _is_of(value, schema, expected):
        found = _json_type(value)
        errors.append(
            FieldError(
                "FieldValueTypeInvalid",
                place,
                f'Invalid value: "{found}": {place} in body must be of type {expected}: "{found}"',
            )
        )
        return
    if "enum" in schema and value not in schema["enum"]:
        errors.append(
            unsupported(place, value, [item if isinstance(item, str) else go_value(item) for item in schema["enum"]])
        )
    if isinstance(value, dict):
        _validate_object(value, schema, place, errors, root=root)
    elif isinstance(value, list):
        _validate_array(value, schema, place, errors)
    elif isinstance(value, str):
        _validate_string(value, schema, place, errors)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _validate_number(value, schema, place, errors)
    _validate_combined(value, schema, place, errors)


def _expected_type(schema: Manifest) -> str:
    if schema.get(INT_OR_STRING):
        return "integer,string"
    return schema.get("type") or ""


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return {str: "string", dict: "object", list: "array", float: "number", type(None): "null"}[type(value)]


def _is_of(value: Any, schema: Manifest, expected: str) -> bool:
    found = _json_type(value)
    if found in expected.split(","):
        return True
    if expected == "number":
        return found == "integer"
    return expected == "integer" and isinstance(value, float) and value.is_integer()


def _inside(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _validate_object(value: Manifest, schema: Manifest, place: str, errors: list[FieldError], *, root: bool) -> None:
    properties = schema.get("properties") or {}
    errors += [required(_inside(place, key)) for key in schema.get("required") or () if key not in value]
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if most is not None and len(value) > most:
        errors.append(_too_many(place, len(value), most))
    if least is not None and len(value) < least:
        errors.append(invalid_value(place, len(value), f"{place} in body should have at least {least} properties"))
    additional = schema.get("additionalProperties")
    own = ("apiVersion", "kind", "metadata") if root or schema.get(EMBEDDED) else ()
    for key, inner in value.items():
        if key in own:
            continue
        if key in properties:
            _validate(inner, properties[key], _inside(place, key), errors)
        elif isinstance(additional, dict):
            _validate(inner, additional, _inside(place, key), errors)


def _validate_array(value: list[Any], schema: Manifest, place: str, errors: list[FieldError]) -> None:
    most, least = schema.get("maxItems"), schema.get("minItems")
    if most is not None and len(value) > most:
        errors.append(_too_many(place, len(value), most))
    if least is not None and len(value) < least:
        errors.append(invalid_value(place, len(value), f"{place} in body should have at least {least} items"))
    items = schema.get("items")
    if isinstance(items, dict):
        for index, item in enumerate(value):
            _validate(item, items, f"{place}[{index}]", errors)
    match schema.get("x-kubernetes-list-type"):
        case "set":
            _report_duplicates([go_value(item) for item in value], value, place, errors)
        case "map":
            keys = schema.get("x-kubernetes-list-map-keys") or []
            named = [{key: item[key] for key in keys if key in item} for item in value if isinstance(item, dict)]
            _report_duplicates([go_value(item) for item in named], named, place, errors)


def _report_duplicates(texts: list[str], values: list[Any], place: str, errors: list[FieldError]) -> None:
    seen: set[str] = set()
    for index, text in enumerate(texts):
        if text in seen:
            errors.append(duplicate(f"{place}[{index}]", values[index]))
        seen.add(text)


def _too_many(place: str, found: int, most: int) -> FieldError:
    return FieldError("FieldValueTooMany", place, f"Too many: {found}: must have at most {most} items")


def _validate_string(value: str, schema: Manifest, place: str, errors: list[FieldError]) -> None:
    most, least = schema.get("maxLength"), schema.get("minLength")
    if most is not None and len(value) > most:
        errors.append(FieldError("FieldValueTooLong", place, f"Too long: may not be more than {most} bytes"))
    if least is not None and len(value) < least:
        errors.append(invalid_value(place, value, f"{place} in body should be at least {least} chars long"))
    pattern = schema.get("pattern")
    if pattern and not _matcher(pattern)(value):
        errors.append(invalid_value(place, value, f"{place} in body should match '{pattern}'"))
    name = schema.get("format") or ""
    if not fits(name, value):
        errors.append(invalid_value(place, value, f"{place} in body must be of type {name}: {go_value(value)}"))


@lru_cache(maxsize=512)
def _matcher(pattern: str) -> Callable[[str], Any]:
    try:
        return re.compile(pattern).search
    except re.error:
        return lambda _: True  # Go's syntax where Python's differs: better not to refuse what a cluster takes


def _validate_number(value: float, schema: Manifest, place: str, errors: list[FieldError]) -> None:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None:
        strict = bool(schema.get("exclusiveMinimum"))
        if value < low or (strict and value == low):
            what = "greater than" if strict else "greater than or equal to"
            errors.append(invalid_value(place, value, f"{place} in body should be {what} {low}"))
    if high is not None:
        strict = bool(schema.get("exclusiveMaximum"))
        if value > high or (strict and value == high):
            what = "less than" if strict else "less than or equal to"
            errors.append(invalid_value(place, value, f"{place} in body should be {what} {high}"))
    if (step := schema.get("multipleOf")) and not _is_multiple(value, step):
        errors.append(invalid_value(place, value, f"{place} in body should be a multiple of {step}"))


def _is_multiple(value: float, step: float) -> bool:
    try:
        return math.isclose(value / step, round(value / step))
    except OverflowError:  # integers of any length come in JSON
        return isinstance(step, int) and isinstance(value, int) and value % step == 0


def _validate_combined(value: Any, schema: Manifest, place: str, errors: list[FieldError]) -> None:
    for inner in schema.get("allOf") or ():
        _validate(value, inner, place, errors)
    if (choices := schema.get("anyOf")) and not any(_valid(value, inner, place) for inner in choices):
        errors.append(invalid_value(place, value, f"{place} in body must validate at least one schema (anyOf)"))
    if (choices := schema.get("oneOf")) and sum(_valid(value, inner, place) for inner in choices) != 1:
        errors.append(invalid_value(place, value, f"{place} in body must validate one and only one schema (oneOf)"))
    if (unwanted := schema.get("not")) is not None and _valid(value, unwanted, place):
        errors.append(invalid_value(place, value, f"{place} in body must not validate the schema (not)"))


def _valid(value: Any, schema: Manifest, place: str) -> bool:
    errors: list[FieldError] = []
    _validate(value, schema, place, errors)
    return not errors
