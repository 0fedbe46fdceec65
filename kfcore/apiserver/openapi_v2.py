"""`/openapi/v2`: all kinds in one Swagger document, from the schemas that v3 has in one a group version. Older kubectls
and generators of clients read it, kubectl in protobuf (`openapi_protobuf.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kfcore.api.meta import Manifest

_V3_REFERENCE, _V2_REFERENCE = "#/components/schemas/", "#/definitions/"
_NOT_IN_V2 = frozenset({"anyOf", "oneOf", "not", "nullable"})
_NAMED = ("properties", "patternProperties")


def swagger(info: Manifest, documents: Iterable[Manifest]) -> Manifest:
    """The v2 document that says what these v3 ones say."""
    paths: Manifest = {}
    definitions: Manifest = {}
    for document in documents:
        for name, schema in document["components"]["schemas"].items():
            known = definitions.get(name, {})
            definitions[name] = {**known, **_schema(schema)}
        for path, item in document["paths"].items():
            paths[path] = {method: _operation(operation) for method, operation in item.items()}
    return {"swagger": "2.0", "info": info, "paths": paths, "definitions": definitions}


def _schema(schema: Manifest) -> Manifest:
    """Without what v2 has no words for; a reference may stand beside its description."""
    made: Manifest = {}
    for key, value in schema.items():
        if key in _NOT_IN_V2:
            continue
        if key == "$ref":
            made[key] = value.replace(_V3_REFERENCE, _V2_REFERENCE)
        elif key == "allOf":
            references = [part for part in value if isinstance(part, dict) and "$ref" in part]
            if len(value) == 1 and references:
                made |= _schema(references[0])
        elif key in _NAMED and isinstance(value, dict):
            made[key] = {name: _schema(inner) for name, inner in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            made[key] = _schema(value)
        else:
            made[key] = value
    return made


def _operation(operation: Manifest) -> Manifest:
    parameters: list[Any] = [
        {"name": parameter["name"], "in": parameter["in"], "type": parameter["schema"]["type"], "uniqueItems": True}
        for parameter in operation.get("parameters") or ()
    ]
    made = {key: value for key, value in operation.items() if key.startswith("x-")}
    if (body := operation.get("requestBody")) is not None:
        content = body["content"]
        made["consumes"] = list(content)
        schema = _schema(next(iter(content.values()))["schema"])
        parameters.append({"name": "body", "in": "body", "required": True, "schema": schema})
    if parameters:
        made["parameters"] = parameters
    made["produces"] = ["application/json"]
    made["responses"] = {
        code: {
            "description": answer["description"],
            "schema": _schema(next(iter(answer["content"].values()))["schema"]),
        }
        for code, answer in operation["responses"].items()
    }
    return made
