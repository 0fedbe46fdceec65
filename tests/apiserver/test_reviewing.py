"""Requests beside the objects that say too little or contradict themselves: reviews, tokens, evictions …"""

from __future__ import annotations

from typing import Any

import pytest
from conversing import APPLY, JSON_PATCH, MERGE, NAMESPACE, PODS, Conversation, a_pod

from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

REVIEWS = "/apis/authorization.k8s.io/v1"
LOCAL = f"{REVIEWS}/namespaces/default/localsubjectaccessreviews"
GET_PODS = {"verb": "get", "resource": "pods"}
ONE_OF = (
    "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be"
)
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/web"
SCALE = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}}


@pytest.fixture
def ask() -> Conversation:
    return Conversation(ApiServer(clock=FakeClock()))


@pytest.mark.parametrize(
    ("path", "spec", "why"),
    [
        (f"{REVIEWS}/subjectaccessreviews", {"user": "x"}, ONE_OF),
        (f"{REVIEWS}/selfsubjectaccessreviews", {}, ONE_OF),
        (f"{REVIEWS}/subjectaccessreviews", {"resourceAttributes": GET_PODS},
         'spec.user: Invalid value: "": at least one of user or group must be specified'),
        (LOCAL, {"user": "x", "resourceAttributes": {**GET_PODS, "namespace": "other"}},
         'spec.resourceAttributes.namespace: Invalid value: "other": must match metadata.namespace'),
        (LOCAL, {"user": "x", "nonResourceAttributes": {"path": "/", "verb": "get"}},
         'spec.nonResourceAttributes: Invalid value: {"path":"/","verb":"get"}: disallowed on this kind of request'),
    ],
)  # fmt: skip
async def test_a_review_of_nobody_or_nothing_is_invalid(
    ask: Conversation, path: str, spec: dict[str, Any], why: str
) -> None:
    refused = await ask.refusal("POST", path, {"spec": spec})
    assert refused.startswith(f'422 .authorization.k8s.io "" is invalid: {why}')


async def test_a_review_of_attributes_without_a_word_is_answered(ask: Conversation) -> None:
    for name in ("resourceAttributes", "nonResourceAttributes"):
        status, _ = await ask("POST", f"{REVIEWS}/subjectaccessreviews", {"spec": {"user": "x", name: {}}})
        assert status == 201


async def test_rules_are_reviewed_in_a_namespace(ask: Conversation) -> None:
    refused = await ask.refusal("POST", f"{REVIEWS}/selfsubjectrulesreviews", {"spec": {}})
    assert refused == "400 no namespace on request"


async def test_groups_are_not_claimed_without_a_user(ask: Conversation) -> None:
    answer = await ask.server.handle(Request("GET", PODS, {}, {"impersonate-group": "viewers"}, user="admin"))
    assert answer.status == 400
    assert b"without impersonating a user" in bytes(answer.body)  # type: ignore[arg-type]


async def test_a_token_is_asked_for_by_the_name_of_its_account(ask: Conversation) -> None:
    await ask.created(f"{NAMESPACE}/serviceaccounts", {"metadata": {"name": "robot"}})
    path = f"{NAMESPACE}/serviceaccounts/robot/token"
    assert await ask.refusal("POST", path, {"metadata": {"name": "x"}, "spec": {}}) == (
        '422 TokenRequest.authentication.k8s.io "robot" is invalid: metadata.name: Invalid value: "x": must match the '
        "service account name if specified"
    )


async def test_evictions_and_bindings_name_their_pod(ask: Conversation) -> None:
    await ask.created(PODS, a_pod())
    assert await ask.refusal("POST", f"{PODS}/p/eviction", {}) == (
        "400 name in URL does not match name in Eviction object"
    )
    other = {"metadata": {"name": "q"}, "target": {"kind": "Node", "name": "n"}}
    assert await ask.refusal("POST", f"{PODS}/p/binding", other) == (
        "400 name in URL does not match name in Binding object"
    )
    assert await ask.refusal("POST", f"{PODS}/p/binding", {"target": {"kind": "Rock", "name": "n"}}) == (
        '422 Binding "p" is invalid: target.kind: Unsupported value: "Rock": supported values: "Node", "<empty>"'
    )


async def a_deployment(ask: Conversation) -> None:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    body["spec"] = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    assert (await ask("PATCH", f"{DEPLOYMENT}?fieldManager=deployer", body, APPLY))[0] == 201


async def test_replicas_are_applied_through_the_scale_and_owned_there(ask: Conversation) -> None:
    await a_deployment(ask)
    path = f"{DEPLOYMENT}/scale?fieldManager=scaler"
    body = {**SCALE, "spec": {"replicas": 5}}
    assert await ask.refusal("PATCH", path, body, APPLY) == (
        '409 Apply failed with 1 conflict: conflict with "deployer": .spec.replicas'
    )
    status, scale = await ask("PATCH", f"{path}&force=true", body, APPLY)
    assert (status, scale["kind"], scale["spec"]) == (200, "Scale", {"replicas": 5})
    _, deployment = await ask("GET", DEPLOYMENT)
    assert deployment["spec"]["replicas"] == 5
    owned = {entry["manager"]: entry for entry in deployment["metadata"]["managedFields"]}
    assert owned["scaler"]["subresource"] == "scale"
    assert owned["scaler"]["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in owned["deployer"]["fieldsV1"]["f:spec"]


@pytest.mark.parametrize(
    ("method", "type_", "body", "why"),
    [
        ("PUT", "application/json", {**SCALE, "metadata": {}, "spec": {}},
         "400 the name of the object (web based on URL) was undeterminable: name must be provided"),
        ("PUT", "application/json", {**SCALE, "spec": {"replicas": "x"}},
         '400 Scale in version "v1" cannot be handled as a Scale: json: cannot unmarshal string into Go struct field '
         "ScaleSpec.spec.replicas of type int32"),
        ("PATCH", MERGE, {"spec": {"replicas": -1}},
         '422 Scale.autoscaling "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to'),
        ("PATCH", MERGE, {"metadata": {"uid": "x"}},
         '409 Operation cannot be fulfilled on deployments/scale.apps "web": Precondition failed: UID in precondition'),
        ("PATCH", JSON_PATCH, [{"op": "replace", "path": "/spec/replicas", "value": "x"}], '422  "" is invalid: patch'),
        ("PATCH", APPLY, {**SCALE, "spec": {}}, '422 PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required'),
    ],
)  # fmt: skip
async def test_a_scale_that_is_none_is_refused(ask: Conversation, method: str, type_: str, body: Any, why: str) -> None:
    await a_deployment(ask)
    assert (await ask.refusal(method, f"{DEPLOYMENT}/scale", body, type_)).startswith(why)
