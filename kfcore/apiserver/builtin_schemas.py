"""OpenAPI schemas of the built-in kinds, from the facts in kubernetes-asyncio's generated models: their fields, types,
what is required, and the documentation. The models are read as text: importing them takes most of a second and 100 MB.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver.merge_facts import ATOMIC_MAPS, ATOMIC_STRUCTS, LIST_KEYS, PATCH_KEYS
from kfcore.apiserver.shapes import struct_name

_IMPORT = re.compile(r"^from kubernetes_asyncio\.client\.models\.(\w+) import (\w+)", re.M)
_TABLE = re.compile(r"^    (openapi_types|attribute_map) = \{(.*?)^    \}", re.M | re.S)
_ENTRY = re.compile(r"'(\w+)': '([^']+)'")
_DOCUMENTATION = re.compile(r'"""Gets the (\w+) of this \w+\.  # noqa: E501\n\n(?!\n)(.*?)\n\n        :return:', re.S)
_REQUIRED = re.compile(r"Invalid value for `(\w+)`, must not be `None`")
_VERSIONED = re.compile(r"([A-Z][a-z]+)?(V\d+(?:(?:alpha|beta)\d+)?)(\w+)")
_SCALARS: dict[str, Manifest] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
    "bytes": {"type": "string", "format": "byte"},
    "file": {"type": "string", "format": "byte"},
    "object": {"x-kubernetes-preserve-unknown-fields": True},
}


class BuiltinSchemas:
    """Schemas by name, each with all that it refers to."""

    def of_kind(self, resource: Resource) -> tuple[str, Manifest]:
        """The name of a kind's schema, and the schemas that it takes; an open object for a kind without a model."""
        version, group = resource.version.capitalize(), (resource.group.split(".")[0] or "core").capitalize()
        files = _model_files()
        for model in (f"{version}{resource.kind}", f"{group}{version}{resource.kind}"):
            if model in files:
                return self.of_model(model)
        name = f"io.k8s.{resource.version}.{resource.kind}"
        return name, {name: {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}

    def of_model(self, model: str) -> tuple[str, Manifest]:
        """The same, by the name of a model."""
        name = _schema_name(model)
        if model not in _model_files():
            return name, {name: {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        schemas: Manifest = {}
        waiting = [model]
        while waiting:
            current = waiting.pop()
            current_name = _schema_name(current)
            if current_name not in schemas:
                schemas[current_name], needs = _read_model(current)
                waiting += needs
        return name, schemas


@cache
def _model_files() -> dict[str, Path]:
    """The files of the models, by model; none where kubernetes-asyncio is not installed."""
    package = find_spec("kubernetes_asyncio")
    if package is None or package.origin is None:
        return {}
    folder = Path(package.origin).parent / "client" / "models"
    return {model: folder / f"{module}.py" for module, model in _IMPORT.findall(_text(folder / "__init__.py"))}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _schema_name(model: str) -> str:
    """`V1PodSpec` → `io.k8s.v1.PodSpec`: kubectl shows what follows the last dot."""
    match = _VERSIONED.fullmatch(model)
    if match is None:
        return f"io.k8s.{model}"
    prefix = f"{match[1].lower()}." if match[1] else ""
    return f"io.k8s.{prefix}{match[2].lower()}.{match[3]}"


@cache
def _read_model(model: str) -> tuple[Manifest, tuple[str, ...]]:
    """A model's schema, and the models that it refers to."""
    text = _text(_model_files()[model])
    tables = {name: dict(_ENTRY.findall(body)) for name, body in _TABLE.findall(text)}
    names = tables.get("attribute_map", {})
    documentation = {attribute: _cleaned(prose) for attribute, prose in _DOCUMENTATION.findall(text)}
    properties: dict[str, Any] = {}
    needs: list[str] = []
    for attribute, type_ in tables.get("openapi_types", {}).items():
        schema = _schema(type_, needs)
        description = documentation.get(attribute, "")
        if "$ref" in schema:
            schema = {"allOf": [schema]}  # a reference with siblings would lose them
        name = names[attribute]
        properties[name] = {
            **({"description": description} if description else {}), **schema, **_merging(struct_name(model), name)
        }  # fmt: skip
    made: Manifest = {"type": "object", "properties": properties}
    if required := sorted({names[attribute] for attribute in _REQUIRED.findall(text) if attribute in names}):
        made["required"] = required
    if struct_name(model) in ATOMIC_STRUCTS:
        made["x-kubernetes-map-type"] = "atomic"
    return made, tuple(needs)


def _merging(struct: str, name: str) -> Manifest:
    """How a list merges, in the words of Kubernetes' extensions."""
    made: Manifest = {}
    if (entry := _entries(PATCH_KEYS, struct).get(name)) is not None:
        made["x-kubernetes-patch-strategy"] = "merge,retainKeys" if entry.endswith("!") else "merge"
        if key := entry.rstrip("!"):
            made["x-kubernetes-patch-merge-key"] = key
    if (entry := _entries(LIST_KEYS, struct).get(name)) is not None:
        made["x-kubernetes-list-type"] = "map" if entry else "set"
        if entry:
            made["x-kubernetes-list-map-keys"] = entry.split(",")
    if f"{struct}.{name}" in ATOMIC_MAPS:
        made["x-kubernetes-map-type"] = "atomic"
    return made


def _entries(facts: dict[str, str], struct: str) -> dict[str, str]:
    return {entry.partition(":")[0]: entry.partition(":")[2] for entry in facts.get(struct, "").split() if ":" in entry}


def _cleaned(prose: str) -> str:
    return " ".join(prose.replace("# noqa: E501", "").replace('\\"', '"').split())


def _schema(type_: str, needs: list[str]) -> Manifest:
    if scalar := _SCALARS.get(type_):
        return scalar
    if type_.startswith("list["):
        return {"type": "array", "items": _schema(type_[5:-1], needs)}
    if type_.startswith("dict("):
        return {"type": "object", "additionalProperties": _schema(type_[5:-1].partition(",")[2].strip(), needs)}
    if type_ in _model_files():
        needs.append(type_)
        return {"$ref": f"#/components/schemas/{_schema_name(type_)}"}
    return _SCALARS["object"]
