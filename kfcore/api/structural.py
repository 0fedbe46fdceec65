"""pydantic's JSON schema of a type → the structural schema that a CRD takes: no references, unions or titles. What it
cannot say is left to the type itself, which is asked again wherever an object is read.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from kfcore.api.codec import decode_json
from kfcore.api.meta import CRD_DEFAULT, Manifest
from kfcore.api.pod_template import TEMPLATE_SCHEMA

_INT_OR_STRING = "x-kubernetes-int-or-string"
_INTEGER_OR_STRING: Manifest = {_INT_OR_STRING: True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
_ANYTHING = "x-kubernetes-preserve-unknown-fields"
_NUMBER = r"(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
_QUANTITY = rf"^(\+|-)?{_NUMBER}(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?{_NUMBER}))?$"
_KEPT = (
    "type",
    "format",
    "description",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "multipleOf",
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
)
_BOUNDS = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))
_FORMAT_BOUNDS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def structural(node: Mapping[str, Any], definitions: Mapping[str, Any], above: tuple[str, ...] = ()) -> Manifest:
    """A node of a schema, with the `definitions` that its references name; `above` are those that it is within.

    Raises TypeError for a type that contains itself, which no CRD can say.
    """
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name in above:
            raise TypeError(
                f"{name} contains itself, which a CRD cannot say: declare the inner one as dict[str, Any], and read it "
                f"with {name}.model_validate"
            )
        above = (*above, name)
        node = {**definitions[name], **{key: value for key, value in node.items() if key != "$ref"}}
    if node.get(TEMPLATE_SCHEMA):
        return pod_template_schema() | {key: node[key] for key in ("description",) if key in node}
    if _INT_OR_STRING in node:
        return {**_INTEGER_OR_STRING, "pattern": _QUANTITY}
    if branches := [branch for branch in node.get("anyOf", ()) if branch.get("type") != "null"]:
        outer = {key: value for key, value in node.items() if key != "anyOf"}
        if len(branches) == 1:
            return structural({**branches[0], **outer}, definitions, above)
        if {branch.get("type") for branch in branches} == {"integer", "string"}:
            return _kept(outer) | _INTEGER_OR_STRING
        node = outer  # of another union a CRD can say nothing
    result = _kept(node)
    if "const" in node or "enum" in node:
        result = {"type": "string", **result}
        result["enum"] = [node["const"]] if "const" in node else list(node["enum"])
    if "properties" in node:
        result["properties"] = {
            name: structural(child, definitions, above) for name, child in node["properties"].items()
        }
        if required := node.get("required"):
            result["required"] = list(required)
    elif isinstance(node.get("additionalProperties"), Mapping):
        result["additionalProperties"] = structural(node["additionalProperties"], definitions, above)
    elif result.get("type", "object") == "object":
        result[_ANYTHING] = True
    if result.get("type") == "array":
        result["items"] = structural(node.get("items") or {}, definitions, above)
    return result


def _kept(node: Mapping[str, Any]) -> Manifest:
    """What a CRD says in the same words, or nearly so."""
    kept: Manifest = {key: node[key] for key in _KEPT if key in node} | _bounds(node)
    return {**kept, "default": node[CRD_DEFAULT]} if CRD_DEFAULT in node else kept


def _bounds(node: Mapping[str, Any]) -> Manifest:
    """Bounds of a number as OpenAPI 3.0 has them: a flag says that the bound itself is out. Those that the format says
    already are left out.
    """
    bounds: Manifest = {}
    for (inclusive, exclusive), implied in zip(
        _BOUNDS, _FORMAT_BOUNDS.get(node.get("format", ""), (None, None)), strict=True
    ):
        if exclusive in node:
            bounds |= {inclusive: node[exclusive], exclusive: True}
        elif inclusive in node and node[inclusive] != implied:
            bounds[inclusive] = node[inclusive]
    return bounds


def pod_template_schema() -> Manifest:
    """The schema of core/v1 PodTemplateSpec, from the file that `python -m kfcore.api.generate` makes."""
    found: Manifest = decode_json(_pod_template_file())
    return found


@cache
def _pod_template_file() -> bytes:
    return gzip.decompress((files("kfcore.api") / "schemas" / "pod_template.json.gz").read_bytes())
