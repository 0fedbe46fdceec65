"""What a CustomResourceDefinition may not be: its names, its versions, its schemas at every place."""

from __future__ import annotations

from typing import Any

import pytest
from conversing import MERGE, Conversation

from kfcore.api.meta import Manifest
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All"
SCHEMA = "spec.validation.openAPIV3Schema"
A = f"{SCHEMA}.properties[spec].properties[a]"
OBJECT = {"type": "object", "properties": {"k": {"type": "string"}}}
LIST, KEYS, MAP = "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"


def a_crd(schema: Manifest | None = None, names: Manifest | None = None, version: Manifest | None = None) -> Manifest:
    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", **(names or {})},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema or {"type": "object"}},
                    **(version or {}),
                }
            ],
        },
    }


def with_a(**schema: Any) -> Manifest:
    """A schema with a field `spec.a`."""
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": schema}}}}


async def said(crd: Manifest) -> str:
    refused = await Conversation(ApiServer(clock=FakeClock())).refusal("POST", CRDS, crd)
    return refused.removeprefix('422 CustomResourceDefinition.apiextensions.k8s.io "widgets.example.com" is invalid: ')


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "string"}, f'{SCHEMA}.type: Invalid value: "string": must be object at the root'),
        ({"type": "object", "nullable": True}, f"{SCHEMA}.nullable: Forbidden: nullable cannot be true at the root"),
        ({"type": "object", "additionalProperties": {"type": "string"}},
         f"{SCHEMA}.additionalProperties: Forbidden: must not be used at the root"),
        ({"type": "object", "allOf": [{"properties": {"q": {"minimum": 1}}}]},
         f"{SCHEMA}.properties[q]: Required value: because it is defined in {SCHEMA}.allOf[0].properties[q]"),
        ({"type": "object", "properties": {"metadata": {"type": "object", "default": {}}}},
         f"{SCHEMA}.properties[metadata].default: Forbidden: must not be set in top-level metadata"),
    ],
)  # fmt: skip
async def test_the_root_of_a_schema_has_rules(schema: Manifest, why: str) -> None:
    assert await said(a_crd(schema)) == why


@pytest.mark.parametrize(
    ("schema", "place", "why"),
    [
        ({"type": "array"}, "items", "Required value: must be specified"),
        ({"type": "array", "items": [{"type": "string"}]}, "items",
         "Forbidden: items must be a schema object and not an array"),
        ({"type": "string", "id": "x"}, "id", "Forbidden: id is not supported"),
        ({"type": "object", "patternProperties": {"x": {"type": "string"}}}, "patternProperties",
         "Forbidden: patternProperties is not supported"),
        ({"type": "object", "definitions": {"x": {}}}, "definitions", "Forbidden: definitions is not supported"),
        ({"type": "object", "default": {"b": 1}}, "default",
         'Invalid value: {"b":1}: must not have unknown fields'),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": False}, "x-kubernetes-preserve-unknown-fields",
         "Invalid value: false: must be true or undefined"),
        ({"type": "object", "x-kubernetes-embedded-resource": True}, "properties",
         "Required value: must not be empty if x-kubernetes-embedded-resource is true without "
         "x-kubernetes-preserve-unknown-fields"),
        ({"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True},
         "x-kubernetes-preserve-unknown-fields",
         "Invalid value: true: must be false if x-kubernetes-int-or-string is true"),
        ({"type": "string", "anyOf": [{"type": "string"}]}, "anyOf[0].type",
         "Forbidden: must be empty to be structural"),
        ({"type": "string", "not": {"default": "x"}}, "not.default", "Forbidden: must be undefined to be structural"),
        ({"type": "array", LIST: "x", "items": {"type": "string"}}, LIST,
         'Unsupported value: "x": supported values: "atomic", "set", "map"'),
        ({"type": "string", LIST: "set"}, "type",
         'Invalid value: "string": must be array if x-kubernetes-list-type is specified'),
        ({"type": "array", LIST: "set", "items": OBJECT}, f"items.{MAP}",
         "Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set"),
        ({"type": "array", LIST: "set", "items": {"type": "string", "nullable": True}}, "items.nullable",
         "Forbidden: cannot be nullable when x-kubernetes-list-type is set"),
        ({"type": "array", KEYS: ["k"], "items": OBJECT}, LIST,
         "Required value: must be map if x-kubernetes-list-map-keys is non-empty"),
        ({"type": "array", LIST: "map", KEYS: ["z"], "items": OBJECT}, KEYS,
         'Invalid value: ["z"]: entries must all be names of item properties'),
        ({"type": "array", LIST: "map", KEYS: ["k"], "items": OBJECT}, "items.properties[k].default",
         "Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required "
         "property"),
        ({"type": "array", LIST: "map", KEYS: ["k"], "items": {"type": "string"}}, "items.type",
         'Invalid value: "string": must be object if parent array\'s x-kubernetes-list-type is map'),
        ({"type": "object", MAP: "x"}, MAP, 'Unsupported value: "x": supported values: "atomic", "granular"'),
    ],
)  # fmt: skip
async def test_every_place_of_a_schema_has_rules(schema: Manifest, place: str, why: str) -> None:
    assert await said(a_crd(with_a(**schema))) == f"{A}.{place}: {why}"


@pytest.mark.parametrize(
    "schema",
    [
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        {"x-kubernetes-int-or-string": True,
         "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "^[0-9]"}]},
        {**OBJECT, "oneOf": [{"required": ["k"]}, {"properties": {"k": {"maxLength": 3}}}]},
        {"type": "object", "additionalProperties": True},
        {"type": "array", LIST: "map", KEYS: ["k"], "items": {**OBJECT, "required": ["k"]}},
        {"type": "array", LIST: "set", "items": {**OBJECT, MAP: "atomic"}},
        {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
    ],
)  # fmt: skip
async def test_a_schema_that_keeps_the_rules_is_taken(schema: Manifest) -> None:
    status, answer = await Conversation(ApiServer(clock=FakeClock()))("POST", CRDS, a_crd(with_a(**schema)))
    assert status == 201, answer


@pytest.mark.parametrize(
    ("crd", "why"),
    [
        (a_crd(names={"shortNames": ["W"]}), 'spec.names.shortNames[0]: Invalid value: "W": a DNS-1035 label'),
        (a_crd(names={"listKind": "Widget"}),
         'spec.names.listKind: Invalid value: "Widget": kind and listKind may not be the same'),
        (a_crd(names={"kind": "Wid_get"}), '[spec.names.singular: Invalid value: "wid_get": a DNS-1035 label'),
        (a_crd(version={"deprecationWarning": "x"}),
         'spec.versions[0].deprecationWarning: Invalid value: "x": can only be set for deprecated versions'),
        (a_crd(version={"additionalPrinterColumns": [{"name": "n", "type": "string", "jsonPath": "x"}]}),
         'spec.additionalPrinterColumns[0].JSONPath: Invalid value: "x": must be a simple json path starting with .'),
        (a_crd(version={"additionalPrinterColumns": [{"name": "n", "type": "date", "format": "f", "jsonPath": ".x"}]}),
         'spec.additionalPrinterColumns[0].format: Invalid value: "f": must be one of binary,bool,byte,date,'),
        (a_crd(version={"subresources": {"scale": {"specReplicasPath": ".x", "statusReplicasPath": ".status.r"}}}),
         'spec.subresources.scale.specReplicasPath: Invalid value: ".x": should be a json path under .spec'),
        (a_crd({"type": "object", "x-kubernetes-map-type": "atomic"}, version={"subresources": {"status": {}}}),
         f'{SCHEMA}: Invalid value: {{"type":"object","x-kubernetes-map-type":"atomic"}}: only [Description Type'),
    ],
)  # fmt: skip
async def test_names_versions_and_what_is_beside_them_have_rules(crd: Manifest, why: str) -> None:
    assert (await said(crd)).startswith(why)


async def test_a_definition_of_nothing_is_told_all_that_it_lacks() -> None:
    refused = await said({"metadata": {"name": "widgets.example.com"}})
    for place in ("group", "scope", "names.plural", "names.singular", "names.kind", "names.listKind"):
        assert f"spec.{place}: Required value" in refused
    assert "spec.versions: Invalid value" in refused


async def test_a_conversion_says_nothing_of_webhooks_unless_it_is_one() -> None:
    crd = a_crd()
    crd["spec"]["conversion"] = {"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"]}}
    assert await said(crd) == (
        "spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook"
    )


async def test_a_list_whose_items_cannot_be_told_apart_is_named_for_a_rule_about_what_they_were() -> None:
    rule = [{"rule": "self == oldSelf"}]
    items = {"type": "string", "maxLength": 9, "x-kubernetes-validations": rule}
    assert await said(a_crd(with_a(type="array", maxItems=9, items=items))) == (
        f'{A}.items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the '
        f"uncorrelatable portion of the schema within {A}"
    )


async def test_stored_versions_are_those_of_the_definition() -> None:
    ask = Conversation(ApiServer(clock=FakeClock()))
    await ask.created(CRDS.partition("?")[0], a_crd())
    status = f"{CRDS.partition('?')[0]}/widgets.example.com/status"
    for stored, why in (
        ([], "status.storedVersions: Invalid value: null: must have at least one stored version"),
        (["v9"], "must have the storage version v1"),
    ):
        assert why in await ask.refusal("PATCH", status, {"status": {"storedVersions": stored}}, MERGE)


@pytest.mark.parametrize(
    ("embedded", "why"),
    [
        ({}, "[spec.a.apiVersion: Required value: must not be empty, spec.a.kind: Required value: must not be empty]"),
        ({"apiVersion": "a/b/c", "kind": "K"},
         'spec.a.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c'),
        ({"apiVersion": "v1", "kind": "K", "metadata": {"labels": {"-": "x"}}},
         'spec.a.metadata.labels: Invalid value: "-": name part must consist'),
        ({"apiVersion": "v1", "kind": "K", "metadata": {"name": 1}}, 'spec.a.metadata: Invalid value: {"name":1}: '),
    ],
)  # fmt: skip
async def test_an_object_inside_of_an_object_is_one(embedded: Manifest, why: str) -> None:
    ask = Conversation(ApiServer(clock=FakeClock()))
    schema = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    await ask.created(CRDS.partition("?")[0], a_crd(with_a(**schema)))
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"a": embedded}}
    refused = await ask.refusal("POST", "/apis/example.com/v1/namespaces/default/widgets", widget)
    assert refused.startswith(f'422 Widget.example.com "w" is invalid: {why}')


async def test_numbers_are_stored_as_they_are_written_in_go() -> None:
    ask = Conversation(ApiServer(clock=FakeClock()))
    await ask.created(CRDS.partition("?")[0], a_crd(with_a(type="integer")))
    body = b'{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"spec":{"a":2.0}}'
    _, made = await ask("POST", "/apis/example.com/v1/namespaces/default/widgets", body)
    assert isinstance(made["spec"]["a"], int)
