"""`python -m kfcore.api.generate`: makes the schema of PodTemplateSpec that the job CRDs carry, out of the type facts
of kubernetes-asyncio's models. Those models take a second to import, so it is stored. A test fails when it is stale.
"""

from __future__ import annotations

import gzip
import inspect
import json
import re
from pathlib import Path
from typing import Any

from kfcore.api.meta import Manifest

FILE = Path(__file__).parent / "schemas" / "pod_template.json.gz"

_QUANTITY_FIELDS = {
    ("V1ResourceRequirements", "limits"),
    ("V1ResourceRequirements", "requests"),
    ("V1VolumeResourceRequirements", "limits"),
    ("V1VolumeResourceRequirements", "requests"),
    ("V1PodSpec", "overhead"),
    ("V1EmptyDirVolumeSource", "size_limit"),
    ("V1ResourceFieldSelector", "divisor"),
}
_INT64 = re.compile(r"Seconds$|^(runAs|fsGroup|supplementalGroups)|^observedGeneration$")
_SCALARS: dict[str, Manifest] = {
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "float": {"type": "number"},
    "datetime": {"type": "string", "format": "date-time"},
}
_INT_OR_STRING: Manifest = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
_EMBEDDED_METADATA: Manifest = {
    "type": "object",
    "properties": {
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "finalizers": {"type": "array", "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "name": {"type": "string"},
        "namespace": {"type": "string"},
    },
}


def render() -> bytes:
    """The schema as JSON, the same bytes for the same kubernetes-asyncio."""
    import kubernetes_asyncio.client.models as models

    return json.dumps(_model(models, "V1PodTemplateSpec"), sort_keys=True, separators=(",", ":")).encode()


def _model(models: Any, name: str) -> Manifest:
    if name == "V1ObjectMeta":
        return _EMBEDDED_METADATA
    model = getattr(models, name)
    properties = {
        model.attribute_map[attribute]: _field(models, name, attribute, type_)
        for attribute, type_ in model.openapi_types.items()
    }
    schema: Manifest = {"type": "object", "properties": properties}
    if required := [model.attribute_map[attribute] for attribute in model.openapi_types if _required(model, attribute)]:
        schema["required"] = sorted(required)
    return schema


def _field(models: Any, owner: str, attribute: str, type_: str) -> Manifest:
    if (owner, attribute) in _QUANTITY_FIELDS:
        return (
            {"type": "object", "additionalProperties": _INT_OR_STRING} if type_.startswith("dict") else _INT_OR_STRING
        )
    schema = _type(models, type_, attribute)
    if (owner, attribute) == ("V1Container", "ports"):
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = ["containerPort", "protocol"]
        schema["items"]["properties"]["protocol"] = {"type": "string", "default": "TCP"}
    return schema


def _type(models: Any, type_: str, attribute: str) -> Manifest:
    if match := re.fullmatch(r"list\[(.+)\]", type_):
        return {"type": "array", "items": _type(models, match[1], attribute)}
    if match := re.fullmatch(r"dict\(str, (.+)\)", type_):
        return {"type": "object", "additionalProperties": _type(models, match[1], attribute)}
    if type_ == "int":
        camel = re.sub(r"_(\w)", lambda found: found[1].upper(), attribute)
        return {"type": "integer", "format": "int64" if _INT64.search(camel) else "int32"}
    if type_ == "object":
        return dict(_INT_OR_STRING)
    return dict(_SCALARS[type_]) if type_ in _SCALARS else _model(models, type_)


def _required(model: Any, attribute: str) -> bool:
    setter = getattr(model, attribute).fset
    return "must not be `None`" in inspect.getsource(setter)


def main() -> None:
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_bytes(gzip.compress(render(), mtime=0))


if __name__ == "__main__":
    main()
