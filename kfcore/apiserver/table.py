"""Objects to a meta.k8s.io/v1 Table, which is what `kubectl get` asks for and prints: built-in kinds by `columns.py`,
custom kinds by the printer columns of their CRD, every other one by name and age.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from kfcore.api.codec import encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.columns import BUILTIN_TABLES, columns
from kfcore.apiserver.duration import human_duration, parse_time
from kfcore.apiserver.jsonpath import JsonPathError, compile_path
from kfcore.apiserver.kinds import Column, ServedKind
from kfcore.client.errors import BadRequest

Cell = Callable[[Any, datetime], Any]
API_VERSION = "meta.k8s.io/v1"
INCLUDE_OBJECT = ("Metadata", "None", "Object")
_NAME = columns("Name")[0]
_AGE = Column("Age", "date", ".metadata.creationTimestamp")


def wants_table(accept: str) -> bool:
    """Whether a client that sent this Accept header prefers a Table to the objects themselves."""
    first = accept.partition(",")[0]
    return "as=Table" in first and "g=meta.k8s.io" in first


class TableFormat:
    """How one response shows the objects of a kind; made once a request, for a list, a single object or a watch."""

    def __init__(self, kind: ServedKind, include_object: str = "") -> None:
        """`include_object` is the query parameter: Metadata (the default), None or Object. Raises BadRequest."""
        include_object = include_object or "Metadata"
        if include_object not in INCLUDE_OBJECT:
            raise BadRequest(f"unrecognized includeObject value: {include_object!r}")
        self._include = include_object
        self._header_sent = False
        self._is_pod = kind.resource.kind == "Pod"
        self._columns, self._cells = _layout(kind)

    def table(self, objects: Iterable[Manifest], metadata: Manifest, now: datetime) -> Manifest:
        """A Table of `objects`; `metadata` is the list's (or the object's, of which the resource version is used)."""
        kept = ("resourceVersion", "continue", "remainingItemCount")
        return {
            "kind": "Table",
            "apiVersion": API_VERSION,
            "metadata": {key: metadata[key] for key in kept if key in metadata},
            "columnDefinitions": [_definition(column) for column in self._columns],
            "rows": [self._row(obj, now) for obj in objects],
        }

    def event(self, obj: Manifest, now: datetime, *, bookmark: bool = False) -> Manifest:
        """The object of one watch event. The columns are told once, with the first event; a bookmark has no row."""
        table = self.table(() if bookmark else (obj,), obj["metadata"], now)
        if self._header_sent:
            table["columnDefinitions"] = None
        self._header_sent = True
        return table

    def _row(self, obj: Manifest, now: datetime) -> Manifest:
        row: Manifest = {"cells": self._cells(obj, now), "object": None}
        if self._include == "Object":
            row["object"] = obj
        elif self._include == "Metadata":
            row["object"] = {"kind": "PartialObjectMetadata", "apiVersion": API_VERSION, "metadata": obj["metadata"]}
        if self._is_pod and (condition := _completed(obj)):
            row["conditions"] = [condition]
        return row


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
        builtin = BUILTIN_TABLES.get((kind.resource.group, kind.resource.plural))
        if builtin is not None:
            return builtin.columns, builtin.cells
    shown = kind.columns or (_AGE,)
    readers = [_reader(column) for column in shown]

    def cells(obj: Manifest, now: datetime) -> list[Any]:
        return [obj["metadata"].get("name", ""), *(read(obj, now) for read in readers)]

    return (_NAME, *shown), cells


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
