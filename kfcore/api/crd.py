"""A custom resource's Python type → its CustomResourceDefinition: structural schema, stored defaults, CEL rules,
printer columns and subresources. What a field's type cannot say is in its `json_schema_extra`.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.job_rules import LONGEST_NAME
from kfcore.api.jobs import Job, JobSpec
from kfcore.api.meta import CustomResource, Manifest
from kfcore.api.structural import structural as structural_schema
from kfcore.api.validation import DNS_1035, DNS_1035_TEXT

_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
_STATE = {"name": "State", "type": "string", "jsonPath": ".status.conditions[-1:].type"}


def crd(kind: type[CustomResource]) -> Manifest:
    """The CustomResourceDefinition of a kind, as a manifest; a new one with each call."""
    found: Manifest = decode_json(_encoded(kind))
    return found


@cache
def _encoded(kind: type[CustomResource]) -> bytes:
    """Kept as JSON: the schema takes longer to generate than an API server to start."""
    return encode_json(_definition(kind))


def _definition(kind: type[CustomResource]) -> Manifest:
    resource = kind.resource
    names: Manifest = {
        "plural": resource.plural,
        "singular": resource.singular,
        "kind": resource.kind,
        "listKind": resource.list_kind,
    }
    if resource.short_names:
        names["shortNames"] = list(resource.short_names)
    subresources: Manifest = {"status": {}} if "status" in resource.subresources else {}
    if kind.scale_paths:
        subresources["scale"] = dict(kind.scale_paths)
    version = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema(kind)},
        "subresources": subresources,
        "additionalPrinterColumns": [
            *([_STATE] if issubclass(kind, Job) else []),
            *(dict(column) for column in kind.printer_columns),
            _AGE,
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.qualified_plural},
        "spec": {
            "group": resource.group,
            "names": names,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "versions": [version, *({**version, "name": name, "storage": False} for name in kind.other_versions)],
        },
    }


def schema(kind: type[CustomResource]) -> Manifest:
    """The structural schema of a kind's objects."""
    generated = kind.model_json_schema(by_alias=True, mode="validation")
    structural = structural_schema(generated, generated.get("$defs", {}))
    properties = structural["properties"]
    properties["apiVersion"] = properties["kind"] = {"type": "string"}
    properties["metadata"] = {"type": "object"}
    if issubclass(kind, Job):
        structural["x-kubernetes-validations"] = [
            {
                "rule": f"self.metadata.name.matches('^{DNS_1035.pattern}$')",
                "message": f"metadata.name: {DNS_1035_TEXT}",
            }
        ]
        _add_replica_type_rule(kind, structural)
    kind.adapt_schema(structural)
    return structural


def _add_replica_type_rule(kind: type[Job[Any]], structural: Manifest) -> None:
    """Replica types are taken in any case, so the schema has no property for each: a rule names the known ones.

    Bounds on the numbers of types and containers bound the rules' costs, without which an API server refuses them.
    """
    model = kind.model_fields["spec"].annotation
    if not (isinstance(model, type) and issubclass(model, JobSpec)) or not model.replica_types():
        return
    alias, known = model.replicas_alias(), [name.lower() for name in model.replica_types()]
    replica_specs = structural["properties"]["spec"]["properties"][alias]
    replica_specs["maxProperties"] = 16
    rules = [
        {"rule": "size(self) > 0", "message": f"at least one replica type: {', '.join(model.replica_types())}"},
        {
            "rule": f"self.all(name, name.lowerAscii() in {json.dumps(known)})",
            "message": f"unknown replica type: expected one of {', '.join(model.replica_types())}",
        },
    ]
    replica_specs["x-kubernetes-validations"] = [*rules, *replica_specs.get("x-kubernetes-validations", [])]
    types = f"self.spec.{alias}"
    last = f"has({types}[t].replicas) && {types}[t].replicas > 0 ? {types}[t].replicas - 1 : 0"
    structural["x-kubernetes-validations"].append(
        {
            "rule": f"!has(self.spec) || !has({types}) || "
            f"{types}.all(t, size(self.metadata.name) + size(t) + size(string({last})) <= {LONGEST_NAME - 2})",
            "message": f"metadata.name: too long: <name>-<type>-<index> may have {LONGEST_NAME} characters",
        }
    )
    _require_containers(kind, replica_specs["additionalProperties"])


def _require_containers(kind: type[Job[Any]], replica_spec: Manifest) -> None:
    """Every replica runs something: containers with an image, one of them the framework's."""
    replica_spec["required"] = ["template"]
    template = replica_spec["properties"]["template"]
    template["required"] = ["spec"]
    containers = template["properties"]["spec"]["properties"]["containers"]
    containers |= {"minItems": 1, "maxItems": 256}
    containers["items"]["required"] = ["name", "image"]
    containers["items"]["properties"]["image"]["minLength"] = 1
    if name := kind.container_name:
        rule = f"self.exists(container, container.name == '{name}')"
        message = f"must have at least one container with name {name}"
        containers["x-kubernetes-validations"] = [{"rule": rule, "message": message}]
