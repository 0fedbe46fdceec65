"""Objects to a meta.k8s.io/v1 Table, which is what `kubectl get` asks for and prints: built-in kinds by `columns.py`,
custom kinds by the printer columns of their CRD, every other one by name and age.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from kfcore.api.codec import encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.cells import NAME
from kfcore.apiserver.columns import BUILTIN_TABLES, CREATED
from kfcore.apiserver.duration import human_duration, parse_time
from kfcore.apiserver.jsonpath import JsonPathError, compile_path
from kfcore.apiserver.kinds import Column, ServedKind
from kfcore.client.errors import BadRequest

Cell = Callable[[Any, datetime], Any]
API_VERSION = "meta.k8s.io/v1"
INCLUDE_OBJECT = ("Metadata", "None", "Object")
_AGE = Column("Age", "date", ".metadata.creationTimestamp")


def build(
    kind: ServedKind, objects: Iterable[Manifest], metadata: Manifest, *, include: str, now: datetime
) -> Manifest:
    """A Table of `objects` of one kind. `metadata` is the list's, or of a single object its resource version;
    `include` says what a row carries: `Metadata`, `None` or the whole `Object`. Raises BadRequest for another one.
    """
    include = include or "Metadata"
    if include not in INCLUDE_OBJECT:
        why = f"includeObject: Invalid value: {json.dumps(include)}: must be 'Metadata', 'Object', 'None', or empty"
        raise BadRequest(f"Unable to convert to Table as requested: {why}")
    columns, cells = _layout(kind)
    is_pod = kind.resource.kind == "Pod" and not kind.custom
    rows = []
    for obj in objects:
        row: Manifest = {"cells": cells(obj, now), "object": None}
        if include == "Object":
            row["object"] = obj
        elif include == "Metadata":
            row["object"] = {"kind": "PartialObjectMetadata", "apiVersion": API_VERSION, "metadata": obj["metadata"]}
        if is_pod and (condition := _completed(obj)):
            row["conditions"] = [condition]
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": API_VERSION,
        "metadata": metadata,
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": rows,
    }


def _definition(column: Column) -> Manifest:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description or column.name,
        "priority": column.priority,
    }


def _completed(pod: Manifest) -> Manifest | None:
    """A finished pod's row says so, for clients that hide or grey such rows."""
    phase = (pod.get("status") or {}).get("phase")
    if phase == "Succeeded":
        message = "The pod has completed successfully."
    elif phase == "Failed":
        message = "The pod failed."
    else:
        return None
    return {"type": "Completed", "status": "True", "reason": phase, "message": message}


def _layout(kind: ServedKind) -> tuple[tuple[Column, ...], Callable[[Manifest, datetime], list[Any]]]:
    if not kind.custom:
        builtin = BUILTIN_TABLES.get((kind.resource.group, kind.resource.plural), CREATED)
        return builtin.columns, builtin.cells
    shown = kind.columns or (_AGE,)
    readers = [_reader(column) for column in shown]

    def cells(obj: Manifest, now: datetime) -> list[Any]:
        return [obj["metadata"].get("name", ""), *(read(obj, now) for read in readers)]

    return (NAME, *shown), cells


def _reader(column: Column) -> Callable[[Manifest, datetime], Any]:
    """The function that finds a column's value in an object; None where there is none, or it has another type."""
    try:
        find = compile_path(column.json_path)
    except JsonPathError:
        # The CRD was accepted with it; an empty column is better than no table.
        return lambda obj, now: None
    convert: Cell = _CONVERSIONS.get(column.type, _text)

    def read(obj: Manifest, now: datetime) -> Any:
        found = find(obj)
        return convert(found[0], now) if found and found[0] is not None else None

    return read


def _text(value: Any, now: datetime) -> str:
    if isinstance(value, str):
        return value
    return encode_json(value).decode()


def _integer(value: Any, now: datetime) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number(value: Any, now: datetime) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _boolean(value: Any, now: datetime) -> bool | None:
    return value if isinstance(value, bool) else None


def _date(value: Any, now: datetime) -> str | None:
    if not isinstance(value, str):
        return None
    time = parse_time(value)
    return "<invalid>" if time is None else human_duration((now - time).total_seconds())


_CONVERSIONS: dict[str, Cell] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
}
