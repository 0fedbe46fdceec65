"""Objects inside of custom objects (`x-kubernetes-embedded-resource`): they say what they are, and their metadata has
the rules of all metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver import metadata as meta
from kfcore.apiserver.names import dns_label_1035, path_segment
from kfcore.apiserver.schema import EMBEDDED
from kfcore.apiserver.status import FieldError, Undecodable, invalid_value, required

_OBJECT = Resource("", "v1", "Object", "objects")


class Embedded:
    """The places of a schema at which there are objects, as a tree of those that lead to one."""

    def __init__(self, schema: Any, *, root: bool = True) -> None:
        schema = schema if isinstance(schema, dict) else {}
        self._here = bool(schema.get(EMBEDDED)) and not root
        parts = {name: Embedded(inner, root=False) for name, inner in (schema.get("properties") or {}).items()}
        self._properties = {name: part for name, part in parts.items() if part}
        self._additional = _leading(schema.get("additionalProperties"))
        self._items = _leading(schema.get("items"))

    def __bool__(self) -> bool:
        return bool(self._here or self._properties or self._additional or self._items)

    def problems(self, value: Any, place: str = "") -> Iterator[FieldError]:
        """What is wrong with the objects inside `value`."""
        if isinstance(value, dict):
            if self._here:
                yield from _object_problems(value, place)
            for key, inner in value.items():
                part = self._properties.get(key)
                where = f"{place}.{key}" if place else key
                if part is None and self._additional:
                    part, where = self._additional, f"{place}[{key}]"
                if part is not None:
                    yield from part.problems(inner, where)
        elif isinstance(value, list) and self._items:
            for index, inner in enumerate(value):
                yield from self._items.problems(inner, f"{place}[{index}]")


def _leading(schema: Any) -> Embedded | None:
    part = Embedded(schema, root=False) if isinstance(schema, dict) else None
    return part or None


def _object_problems(value: Manifest, place: str) -> Iterator[FieldError]:
    for field in ("apiVersion", "kind"):
        text, where = value.get(field), f"{place}.{field}"
        if field not in value:
            yield required(where, "must not be empty")
        elif not isinstance(text, str):
            yield invalid_value(where, text, "must be a string")
        elif not text:
            yield invalid_value(where, text, "must not be empty")
        elif field == "apiVersion" and text.count("/") > 1:
            yield invalid_value(where, text, f"unexpected GroupVersion string: {text}")
        elif field == "kind" and (why := dns_label_1035(text.lower())):
            yield invalid_value(where, text, f"may have mixed case, but should otherwise match: {why}")
    if "metadata" not in value:
        return
    try:
        given = {"name": "fakename", **meta.clean(value, _OBJECT)}
    except Undecodable as unfit:
        yield invalid_value(f"{place}.metadata", value["metadata"], unfit.why)
        return
    for error in meta.validate(given, path_segment, custom=True):
        yield FieldError(error.reason, f"{place}.{error.field}", error.message)
