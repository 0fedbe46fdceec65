"""The CRDs that are generated from the models: what an API server checks, fills in and shows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kfcore.api.crd import crd
from kfcore.api.generate import render
from kfcore.api.meta import Manifest, untyped
from kfcore.api.structural import pod_template_schema
from kfcore.client.errors import Invalid
from kfcore.testing import FakeClient
from kfcore_pytorch import PyTorchJob


def version() -> Manifest:
    found: Manifest = crd(PyTorchJob)["spec"]["versions"][0]
    return found


def schema() -> Manifest:
    found: Manifest = version()["schema"]["openAPIV3Schema"]
    return found


def nodes(node: Manifest) -> Iterator[Manifest]:
    yield node
    for child in node.get("properties", {}).values():
        yield from nodes(child)
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from nodes(node[key])


def test_the_schema_is_structural() -> None:
    for node in nodes(schema()):
        assert "$ref" not in node
        assert "title" not in node
        assert "type" in node or "x-kubernetes-int-or-string" in node or "x-kubernetes-preserve-unknown-fields" in node
        assert "anyOf" not in node or "x-kubernetes-int-or-string" in node


def test_suspend_is_the_only_default_that_the_api_server_stores() -> None:
    spec = schema()["properties"]["spec"]["properties"]
    assert spec["runPolicy"]["properties"]["suspend"]["default"] is False
    template_defaults = {"TCP"}  # a port's protocol, by which the list of ports is keyed
    assert {node["default"] for node in nodes(schema()) if "default" in node} == {False, *template_defaults}


def test_state_and_age_are_shown() -> None:
    assert [(column["name"], column["jsonPath"]) for column in version()["additionalPrinterColumns"]] == [
        ("State", ".status.conditions[-1:].type"),
        ("Age", ".metadata.creationTimestamp"),
    ]


def test_workers_can_be_scaled() -> None:
    assert version()["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.pytorchReplicaSpecs.Worker.replicas",
            "statusReplicasPath": ".status.replicaStatuses.Worker.active",
            "labelSelectorPath": ".status.replicaStatuses.Worker.selector",
        },
    }


def test_the_whole_pod_template_is_described() -> None:
    spec = pod_template_schema()["properties"]["spec"]
    assert spec["required"] == ["containers"]
    container = spec["properties"]["containers"]["items"]["properties"]
    assert container["livenessProbe"]["properties"]["httpGet"]["properties"]["port"]["x-kubernetes-int-or-string"]
    assert container["resources"]["properties"]["limits"]["additionalProperties"]["x-kubernetes-int-or-string"]


def test_the_stored_pod_template_schema_is_not_stale() -> None:
    """If it is: `python -m kfcore.api.generate`."""
    import json

    assert json.loads(render()) == pod_template_schema()


async def test_an_api_server_refuses_a_field_of_the_wrong_type_by_its_path() -> None:
    client = FakeClient()
    worker = {"replicas": "two", "template": {"spec": {"containers": []}}}
    manifest = {"metadata": {"name": "job"}, "spec": {"pytorchReplicaSpecs": {"Worker": worker}}}
    with pytest.raises(Invalid, match=r"spec.pytorchReplicaSpecs.Worker.replicas"):
        await client.create(untyped(PyTorchJob.resource), manifest, "default")
