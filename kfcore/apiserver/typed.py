"""What a value at a place in an object is: a struct, a map, a list or a scalar, and how it merges. Server-side apply,
field ownership and strategic merge patches walk an object along with its `Typed`.

Built-in kinds are typed by kubernetes-asyncio's models (`shapes.py`) and `merge_facts.py`, custom ones by their schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver import shapes
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.merge_facts import ATOMIC_MAPS, ATOMIC_STRUCTS, KEY_DEFAULTS, LIST_KEYS, PATCH_KEYS
from kfcore.apiserver.schema import EMBEDDED, PRESERVE

_SCALARS = {"str": "string", "datetime": "string", "bytes": "string", "int": "numeric", "float": "numeric",
            "bool": "boolean"}  # fmt: skip
_JSON_SCALARS = {"string": "string", "integer": "numeric", "number": "numeric", "boolean": "boolean"}


class Typed:
    """`shape` is `struct`, `map`, `list`, `string`, `numeric`, `boolean`, or `any` where everything goes.

    Of a list, `keys` are those by which its items are one and the same: none for a set, None where it is owned as a
    whole; `patch_key` is a strategic merge patch's: empty for scalars that are added, None where it is replaced.
    """

    shape = "any"
    keys: tuple[str, ...] | None = None
    atomic = False
    patch_key: str | None = None

    def member(self, name: str) -> Typed | None:
        """The type of a field, or of a map's value; None for a field that there is not."""
        return ANY

    def item(self) -> Typed:
        """The type of a list's items."""
        return ANY

    @property
    def key_defaults(self) -> Mapping[str, Any]:
        return {}


ANY = Typed()


def type_of(kind: ServedKind) -> Typed:
    """The type of a kind's objects."""
    if kind.custom:
        return _Schema(kind.schema or {}, root=True)
    model = shapes.model_of(kind.resource)
    return ANY if model is None else _struct(model)


# ── built-in kinds ───────────────────────────────────────────────────────────────────────────────────────────────────


class _Builtin(Typed):
    def __init__(self, type_: shapes.FieldType, owner: str, name: str) -> None:
        self._type = type_
        self._name = shapes.struct_name(type_.name)
        self.patch_key = None
        self.keys = None
        if type_.container == "list":
            self.shape = "list"
            self.keys = _keys(owner).get(name)
            self.patch_key = _patch_keys(owner).get(name)
        elif type_.container:
            self.shape = "map"
            self.atomic = f"{owner}.{name}" in ATOMIC_MAPS
        elif type_.name in _SCALARS:
            self.shape = _SCALARS[type_.name]
        elif shapes.field_types(type_.name):
            self.shape = "struct"
            self.atomic = self._name in ATOMIC_STRUCTS
        self._quantities = name in shapes.QUANTITIES

    def member(self, name: str) -> Typed | None:
        if self.shape == "struct":
            return _member(self._type.name, name)
        # Quantities may be numbers as well as text.
        return _inner(self._type) if self.shape == "map" and not self._quantities else ANY

    def item(self) -> Typed:
        return _inner(self._type) if self.shape == "list" else ANY

    @property
    def key_defaults(self) -> Mapping[str, Any]:
        inner = self._type.inner
        return {} if inner is None else KEY_DEFAULTS.get(shapes.struct_name(inner.name), {})


@cache
def _struct(model: str) -> Typed:
    return _Builtin(shapes.FieldType(model), "", "")


@cache
def _member(model: str, name: str) -> Typed | None:
    type_ = shapes.field_types(model).get(name)
    return None if type_ is None else _Builtin(type_, shapes.struct_name(model), name)


@cache
def _inner(type_: shapes.FieldType) -> Typed:
    return ANY if type_.inner is None else _Builtin(type_.inner, "", "")


@cache
def _keys(struct: str) -> dict[str, tuple[str, ...]]:
    entries = (entry.partition(":") for entry in LIST_KEYS.get(struct, "").split())
    return {name: tuple(filter(None, keys.split(","))) for name, _, keys in entries}


@cache
def _patch_keys(struct: str) -> dict[str, str]:
    entries = (entry.rstrip("!").partition(":") for entry in PATCH_KEYS.get(struct, "").split())
    return {name: key for name, _, key in entries}


# ── custom kinds ─────────────────────────────────────────────────────────────────────────────────────────────────────

_OBJECT_META = "V1ObjectMeta"


class _Schema(Typed):
    def __init__(self, schema: Manifest, *, root: bool = False) -> None:
        self._schema = schema
        self._is_object = root or bool(schema.get(EMBEDDED))
        type_ = schema.get("type") or ("object" if self._is_object else "")
        if schema.get("x-kubernetes-int-or-string"):
            type_ = ""
        if type_ == "object":
            self.shape = "map" if isinstance(schema.get("additionalProperties"), dict) else "struct"
            self.atomic = schema.get("x-kubernetes-map-type") == "atomic"
        elif type_ == "array":
            self.shape = "list"
            match schema.get("x-kubernetes-list-type"):
                case "map":
                    self.keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
                case "set":
                    self.keys = ()
        else:
            self.shape = _JSON_SCALARS.get(type_, "any")

    def member(self, name: str) -> Typed | None:
        schema = self._schema
        if self._is_object and name in ("apiVersion", "kind", "metadata"):
            return _struct(_OBJECT_META) if name == "metadata" else ANY
        inner = (schema.get("properties") or {}).get(name)
        if inner is None and isinstance(schema.get("additionalProperties"), dict):
            inner = schema["additionalProperties"]
        if isinstance(inner, dict):
            return _Schema(inner)
        return ANY if schema.get(PRESERVE) or self.shape != "struct" else None

    def item(self) -> Typed:
        items = self._schema.get("items")
        return _Schema(items) if isinstance(items, dict) else ANY

    @property
    def key_defaults(self) -> Mapping[str, Any]:
        items = self._schema.get("items")
        properties = (items.get("properties") or {}) if isinstance(items, dict) else {}
        return {key: properties[key]["default"] for key in self.keys or () if "default" in properties.get(key, {})}
