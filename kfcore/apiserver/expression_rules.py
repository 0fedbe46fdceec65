"""The rules of CEL expressions in configurations of admission: they are there, and can be evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kfcore.api.meta import Manifest
from kfcore.apiserver.admission_cel import compiled
from kfcore.apiserver.cel import CompileError
from kfcore.apiserver.names import qualified_name
from kfcore.apiserver.status import FieldError, duplicate, invalid_value, required

_CONDITIONS = 64
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


def validate_expression(text: str | None, place: str, names: frozenset[str], result: str) -> Iterator[FieldError]:
    """`names` are the variables that it may use, `result` the type that it must have (empty: any)."""
    if not (text or "").strip():
        yield required(place, "expression is not specified" if place.endswith(".expression") else "")
        return
    assert text is not None
    try:
        compiled(text.strip(), names, result)
    except CompileError as error:
        yield invalid_value(place, text, str(error))


def validate_conditions(
    conditions: Iterable[Manifest] | None, place: str, names: frozenset[str]
) -> Iterator[FieldError]:
    known: set[str] = set()
    listed = list(conditions or ())
    if len(listed) > _CONDITIONS:
        why = f"Too many: {len(listed)}: must have at most {_CONDITIONS} items"
        yield FieldError("FieldValueTooMany", place, why)
    for index, condition in enumerate(listed):
        where, name = f"{place}[{index}]", condition.get("name") or ""
        yield from validate_expression(condition.get("expression"), f"{where}.expression", names, "bool")
        if not name:
            yield required(f"{where}.name")
            continue
        yield from (invalid_value(f"{where}.name", name, why) for why in qualified_name(name))
        if name in known:
            yield duplicate(f"{where}.name", name)
        known.add(name)


def validate_variables(variables: Iterable[Manifest] | None, place: str, names: frozenset[str]) -> Iterator[FieldError]:
    for index, variable in enumerate(variables or ()):
        where, name = f"{place}[{index}]", variable.get("name") or ""
        if not name:
            yield required(f"{where}.name", "name is not specified")
        elif not _IDENTIFIER.fullmatch(name):
            yield invalid_value(f"{where}.name", name, "name is not a valid CEL identifier")
        yield from validate_expression(variable.get("expression"), f"{where}.expression", names, "")
