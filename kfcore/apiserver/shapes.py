"""A built-in kind's object as its types read it: unknown fields dropped, wrong types refused in the decoder's words.

The types are the facts in kubernetes-asyncio's generated models, read as text and only those that an object uses:
importing them takes most of a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver.status import bad_request

Decode = Callable[[Manifest], list[str]]

_TABLE = re.compile(r"^    (openapi_types|attribute_map) = \{(.*?)^    \}", re.M | re.S)
_ENTRY = re.compile(r"'(\w+)': '([^']+)'")
_CONTAINER = re.compile(r"(list|dict)[\[(](?:\w+, *)?(.+)[\])]$")
_VERSION = re.compile(r"^([A-Z][a-z]+)?V\d+((alpha|beta)\d+)?")
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_GO = {"str": "string", "int": "int32", "float": "float64", "bool": "bool", "datetime": "v1.Time", "bytes": "[]uint8"}
_QUANTITIES = frozenset({"limits", "requests", "capacity", "allocatable", "hard", "used", "overhead", "min", "max"})
"""Maps of quantities, which may be written as numbers."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value was found, for messages: its path with indices and without, and the type that holds it."""

    path: str
    go_path: str
    struct: str


def decoder(resource: Resource) -> Decode:
    """The function that decodes a manifest of a built-in kind in place, and returns the places of unknown fields.

    It raises BadRequest for values of the wrong type. Metadata is left alone. A kind without a model takes anything.
    """

    def decode(manifest: Manifest) -> list[str]:
        model = _model_of(resource)
        if model is None:
            return []
        unknown: list[str] = []
        _Decoder(resource, unknown).fields(manifest, model, _Place("", "", resource.kind), root=True)
        return unknown

    return decode


class _Decoder:
    def __init__(self, resource: Resource, unknown: list[str]) -> None:
        self._resource = resource
        self._unknown = unknown

    def fields(self, value: Manifest, model: str, place: _Place, *, root: bool = False) -> None:
        types = _field_types(model)
        struct = _VERSION.sub("", model)
        for name in list(value):
            if root and name in ("metadata", "kind", "apiVersion"):
                continue
            type_ = types.get(name)
            path = f"{place.path}.{name}" if place.path else name
            if type_ is None:
                self._unknown.append(path)
                del value[name]
                continue
            inner = value[name]
            if inner is None:
                del value[name]  # null is the absence of a value
                continue
            if type_ == "str" and type(inner) is str:
                continue
            go_path = f"{place.go_path}.{name}" if place.go_path else name
            value[name] = self._value(inner, type_, _Place(path, go_path, struct), quantity=name in _QUANTITIES)

    def _value(self, value: Any, type_: str, place: _Place, *, quantity: bool = False) -> Any:
        match type_:
            case "object" | "file":
                return value
            case "str" | "datetime" | "bytes":
                if quantity and isinstance(value, int | float) and not isinstance(value, bool):
                    return str(value)
                wrong = not isinstance(value, str)
            case "int":
                wrong = not isinstance(value, int) or isinstance(value, bool)
            case "float":
                wrong = not isinstance(value, int | float) or isinstance(value, bool)
            case "bool":
                wrong = not isinstance(value, bool)
            case _:
                return self._composite(value, type_, place, quantity=quantity)
        if wrong:
            raise self._mistyped(value, type_, place)
        return value

    def _composite(self, value: Any, type_: str, place: _Place, *, quantity: bool) -> Any:
        container = _CONTAINER.match(type_)
        if container is None:
            if not isinstance(value, dict):
                raise self._mistyped(value, type_, place)
            self.fields(value, type_, place)
            return value
        if container[1] == "list":
            if not isinstance(value, list):
                raise self._mistyped(value, type_, place)
            inner = container[2]
            return [
                self._value({} if item is None and inner not in _GO else item, inner, self._item(place, index))
                for index, item in enumerate(value)
            ]
        if not isinstance(value, dict):
            raise self._mistyped(value, type_, place)
        inner = container[2]
        return {
            key: self._value(item, inner, place, quantity=quantity) for key, item in value.items() if item is not None
        }

    @staticmethod
    def _item(place: _Place, index: int) -> _Place:
        return _Place(f"{place.path}[{index}]", place.go_path, place.struct)

    def _mistyped(self, value: Any, type_: str, place: _Place) -> Exception:
        found = {str: "string", dict: "object", list: "array", bool: "bool"}.get(type(value), "number")
        kind, version = self._resource.kind, self._resource.version
        return bad_request(
            f'{kind} in version "{version}" cannot be handled as a {kind}: json: cannot unmarshal {found} into Go '
            f"struct field {place.struct}.{place.go_path} of type {_go_type(type_)}"
        )


def _go_type(type_: str) -> str:
    if container := _CONTAINER.match(type_):
        inner = _go_type(container[2])
        return f"[]{inner}" if container[1] == "list" else f"map[string]{inner}"
    return _GO.get(type_) or f"v1.{_VERSION.sub('', type_)}"


@cache
def _folder() -> Path | None:
    """Where the models are; None where kubernetes-asyncio is not installed."""
    package = find_spec("kubernetes_asyncio")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "client" / "models"


def _text(model: str) -> str:
    """A model's source, empty for one that there is not."""
    folder = _folder()
    module = _WORD_START.sub("_", model).lower()
    path = folder / f"{module}.py" if folder is not None else None
    return path.read_text() if path is not None and path.exists() else ""


@cache
def _model_of(resource: Resource) -> str | None:
    version, group = resource.version.capitalize(), (resource.group.split(".")[0] or "core").capitalize()
    candidates = (f"{version}{resource.kind}", f"{group}{version}{resource.kind}")
    return next((model for model in candidates if _field_types(model)), None)


@cache
def _field_types(model: str) -> dict[str, str]:
    """The types of a model's fields, by their JSON names."""
    tables = {name: dict(_ENTRY.findall(body)) for name, body in _TABLE.findall(_text(model))}
    types = tables.get("openapi_types", {})
    return {name: types[attribute] for attribute, name in tables.get("attribute_map", {}).items()}
