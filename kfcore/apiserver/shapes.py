"""A built-in kind's object as its types read it: unknown fields dropped, wrong types refused in the decoder's words.

The types are the facts in kubernetes-asyncio's generated models, read as text and only those that an object uses:
importing them takes most of a second.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver import zero_values
from kfcore.apiserver.quantities import canonical
from kfcore.apiserver.status import Undecodable

Decode = Callable[[Manifest], list[str]]

_REQUIRED = re.compile(r"Invalid value for `(\w+)`, must not be `None`")
_TABLE = re.compile(r"^    (openapi_types|attribute_map) = \{(.*?)^    \}", re.M | re.S)
_ENTRY = re.compile(r"'(\w+)': '([^']+)'")
_CONTAINER = re.compile(r"(list|dict)[\[(](?:\w+, *)?(.+)[\])]$")
_VERSION = re.compile(r"^([A-Z][a-z]+)?V\d+((alpha|beta)\d+)?")
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_GO = {"str": "string", "int": "int32", "float": "float64", "bool": "bool", "datetime": "v1.Time", "bytes": "[]uint8"}
QUANTITIES = frozenset({
    "allocatable", "allocatedResources", "capacity", "default", "defaultRequest", "hard", "limits", "max",
    "maxLimitRequestRatio", "min", "overhead", "requests", "used",
})  # fmt: skip
"""Maps of quantities, which may be written as numbers."""

_SINGLE_QUANTITIES = frozenset({
    ("CSIStorageCapacity", "capacity"), ("CSIStorageCapacity", "maximumVolumeSize"), ("MetricTarget", "averageValue"),
    ("EmptyDirVolumeSource", "sizeLimit"), ("MetricTarget", "value"), ("MetricValueStatus", "averageValue"),
    ("MetricValueStatus", "value"), ("ResourceFieldSelector", "divisor"),
})  # fmt: skip
_SINGLE_NAMES = frozenset(name for _, name in _SINGLE_QUANTITIES)
_INT_OR_STRING = frozenset({"maxSurge", "maxUnavailable", "minAvailable", "port", "targetPort"})


_FOUND: dict[type, str] = {str: "string", dict: "object", list: "array", bool: "bool"}
_EXACT: dict[str, type] = {"str": str, "bytes": str, "int": int, "bool": bool, "float": float}
OPEN = ("object", "file")


class _Place(NamedTuple):
    """Where a value was found, for messages: a field or an index of what `parent` is. Spelt out only when asked for."""

    parent: _Place | None
    name: str | int
    struct: str

    @property
    def path(self) -> str:
        """With indices, as strict decoding names it."""
        before = self.parent.path if self.parent is not None else ""
        if isinstance(self.name, int):
            return f"{before}[{self.name}]"
        return f"{before}.{self.name}" if before else self.name

    @property
    def go_path(self) -> str:
        """Without them, as Go's decoder names it."""
        before = self.parent.go_path if self.parent is not None else ""
        if isinstance(self.name, int):
            return before
        return f"{before}.{self.name}" if before else self.name


@dataclass(frozen=True, slots=True, eq=False)
class FieldType:
    """A field's type, taken apart once. `exact`: what a value most often is, and then needs no second look."""

    name: str
    exact: type | None = None
    container: str = ""
    inner: FieldType | None = None


@cache
def _type(name: str) -> FieldType:
    if container := _CONTAINER.match(name):
        return FieldType(name, None, container[1], _type(container[2]))
    return FieldType(name, _EXACT.get(name))


def decoder(resource: Resource) -> Decode:
    """The function that decodes a manifest of a built-in kind in place, and returns the places of unknown fields.

    It raises BadRequest for values of the wrong type. Metadata is left alone. A kind without a model takes anything.
    Empty values of optional fields are dropped where the type has no place for them.
    """

    def decode(manifest: Manifest) -> list[str]:
        model = model_of(resource)
        if model is None:
            return []
        unknown: list[str] = []
        _Decoder(resource, unknown).fields(manifest, model, None, root=True)
        return unknown

    return decode


class _Decoder:
    def __init__(self, resource: Resource, unknown: list[str]) -> None:
        self._resource = resource
        self._unknown = unknown
        # A schema's empty values mean something, and a CRD is read by what follows it.
        self._drops_empty = resource.kind != "CustomResourceDefinition"

    def fields(self, value: Manifest, model: str, place: _Place | None, *, root: bool = False) -> None:
        types = field_types(model)
        for name in list(value):
            if root and name in ("metadata", "kind", "apiVersion"):
                continue
            type_ = types.get(name)
            if type_ is None:
                self._unknown.append(_Place(place, name, "").path)
                del value[name]
                continue
            inner = value[name]
            if inner is None:
                del value[name]  # null is the absence of a value
                continue
            if type(inner) is not type_.exact or name in _SINGLE_NAMES:
                struct = struct_name(model)
                quantity = name in QUANTITIES or (struct, name) in _SINGLE_QUANTITIES
                inner = value[name] = self._value(inner, type_, _Place(place, name, struct), quantity=quantity)
            if not inner and self._drops_empty and name not in _kept_empty(model) and _has_empty(type_):
                del value[name]

    def _value(self, value: Any, type_: FieldType, place: _Place, *, quantity: bool = False) -> Any:
        if quantity and type_.exact is str and isinstance(value, str | int | float) and not isinstance(value, bool):
            return self._quantity(str(value), place)
        if type(value) is type_.exact:
            return value
        if type_.name in OPEN:
            return self._int_or_string(value) if place.name in _INT_OR_STRING else value
        if type_.name == "datetime":
            return self._time(value, type_, place)
        if type_.exact is not None:
            if type_.name == "float" and isinstance(value, int) and not isinstance(value, bool):
                return value
            raise self._mistyped(value, type_, place)
        return self._composite(value, type_, place, quantity=quantity)

    def _quantity(self, text: str, place: _Place) -> str:
        """In its canonical form; one of a list of resources has no more than three decimal places."""
        try:
            return canonical(text, smallest=-9 if (place.struct, place.name) in _SINGLE_QUANTITIES else -3)
        except ValueError as error:
            raise Undecodable(self._resource, str(error)) from error

    def _time(self, value: Any, type_: FieldType, place: _Place) -> str:
        if not isinstance(value, str):
            raise self._mistyped(value, type_, place)
        if _TIME.fullmatch(value) is None:
            shown = json.dumps(value)
            why = f'parsing time {shown} as "2006-01-02T15:04:05Z07:00": cannot parse {shown} as "2006"'
            raise Undecodable(self._resource, why)
        return value

    def _composite(self, value: Any, type_: FieldType, place: _Place, *, quantity: bool) -> Any:
        inner = type_.inner
        if inner is not None and type_.container == "list":
            if not isinstance(value, list):
                raise self._mistyped(value, type_, place)
            scalar = inner.name in _GO
            return [
                self._value({} if item is None and not scalar else item, inner, _Place(place, index, place.struct))
                for index, item in enumerate(value)
            ]
        if not isinstance(value, dict):
            raise self._mistyped(value, type_, place)
        if inner is None:
            self.fields(value, type_.name, place)
            return value
        return {
            key: self._value(item, inner, place, quantity=quantity) for key, item in value.items() if item is not None
        }

    def _int_or_string(self, value: Any) -> Any:
        if isinstance(value, str) or (type(value) is int and -(2**31) <= value < 2**31):
            return value
        found = f"number {value}" if type(value) in (int, float) else _FOUND[type(value)]
        raise Undecodable(self._resource, f"json: cannot unmarshal {found} into Go value of type int32")

    def _mistyped(self, value: Any, type_: FieldType, place: _Place) -> Exception:
        found = _FOUND.get(type(value), "number")
        where = f"Go struct field {place.struct}.{place.go_path} of type {_go_type(type_.name)}"
        return Undecodable(self._resource, f"json: cannot unmarshal {found} into {where}")


@cache
def _kept_empty(model: str) -> frozenset[str]:
    """The fields of a model whose empty value is one."""
    required = set(_REQUIRED.findall(_text(model)))
    names = _tables(model).get("attribute_map", {})
    return frozenset(names[attribute] for attribute in required if attribute in names) | frozenset(
        zero_values.KEPT.get(struct_name(model), "").split()
    )


def _has_empty(type_: FieldType) -> bool:
    """Whether a type has an empty value: structs and times have none."""
    return type_.exact is not None or bool(type_.container)


@cache
def struct_name(model: str) -> str:
    """A model's Go name: `V1PodSpec` → `PodSpec`."""
    return _VERSION.sub("", model)


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
    return path.read_text(encoding="utf-8") if path is not None and path.exists() else ""


def _tables(model: str) -> dict[str, dict[str, str]]:
    """A model's types by attribute, and its JSON names by attribute."""
    return {name: dict(_ENTRY.findall(body)) for name, body in _TABLE.findall(_text(model))}


@cache
def model_of(resource: Resource) -> str | None:
    """The model of a kind, None where there is none."""
    version, group = resource.version.capitalize(), (resource.group.split(".")[0] or "core").capitalize()
    candidates = (f"{version}{resource.kind}", f"{group}{version}{resource.kind}")
    return next((model for model in candidates if field_types(model)), None)


@cache
def field_types(model: str) -> dict[str, FieldType]:
    """The types of a model's fields, by their JSON names."""
    tables = _tables(model)
    types = tables.get("openapi_types", {})
    return {name: _type(types[attribute]) for attribute, name in tables.get("attribute_map", {}).items()}
