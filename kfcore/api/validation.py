"""What is wrong with a manifest, as field paths in JSON names and sentences: `spec.….replicas: expected an integer,
found "two"`. Used before anything runs (`kfcore local run`) and by the controllers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from pydantic import ValidationError

from kfcore.api.codec import load
from kfcore.api.meta import Manifest, Object

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
DNS_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character"
)


class FieldError(msgspec.Struct, frozen=True):
    """One field that is not as it must be. `path` is in JSON names: `spec.containers[0].image`."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def validate(kind: type[Object], manifest: Manifest) -> list[FieldError]:
    """Everything that is wrong with a manifest, read as `kind`: types first, then the kind's own rules.

    A kind states its rules in a method `rule_violations(self) -> Iterable[FieldError]`.
    """
    try:
        obj = load(kind, manifest)
    except ValidationError as error:
        return field_errors(error)
    except msgspec.ValidationError as error:
        return [_from_msgspec(error)]
    return list(rule_violations(obj))


def rule_violations(obj: Object) -> Iterable[FieldError]:
    """What an object that was read breaks of its kind's own rules."""
    rules = getattr(obj, "rule_violations", None)
    return rules() if callable(rules) else ()


def field_errors(error: ValidationError) -> list[FieldError]:
    """A pydantic error as field errors, each place once."""
    found: dict[str, FieldError] = {}
    for detail in error.errors(include_url=False):
        path = render_path(_without_union_branches(detail["loc"]))
        found.setdefault(path, FieldError(path, _message(detail)))
    return list(found.values())


def render_path(parts: Iterable[str | int]) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _without_union_branches(loc: tuple[str | int, ...]) -> Iterator[str | int]:
    for part in loc:
        if isinstance(part, int) or part not in _UNION_BRANCHES:
            yield part


_UNION_BRANCHES = {"int", "float", "str", "constrained-str", "constrained-int"}

_EXPECTED = {
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "datetime_type": "a time such as 2024-01-31T09:30:00Z",
    "datetime_parsing": "a time such as 2024-01-31T09:30:00Z",
    "datetime_from_date_parsing": "a time such as 2024-01-31T09:30:00Z",
}


def _message(detail: Any) -> str:
    kind, found = detail["type"], detail["input"]
    if kind == "missing":
        return "required, but missing"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {show(found)}"
    if kind == "replica_type":
        return f"unknown replica type {show(found)}: {detail['msg']}"
    if kind == "literal_error":
        expected = str(detail["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
        names = [name.strip() for name in expected.split(",") if name.strip()]
        return f"expected one of {', '.join(names)}, found {show(found)}"
    if kind == "value_error":
        return f"{detail['ctx']['error']}, found {show(found)}"
    message = str(detail["msg"])
    return f"{message[:1].lower()}{message[1:]}, found {show(found)}"


def show(value: Any) -> str:
    """A value in an error message: as JSON, cut when long."""
    if isinstance(value, dict) and value:
        return f"a mapping with {', '.join(map(str, list(value)[:3]))}{' …' if len(value) > 3 else ''}"
    if isinstance(value, list) and value:
        return "a list"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:
        text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _from_msgspec(error: msgspec.ValidationError) -> FieldError:
    message, _, place = str(error).partition(" - at `$")
    path = place.rstrip("`").removeprefix(".")
    return FieldError(path, message[:1].lower() + message[1:])
