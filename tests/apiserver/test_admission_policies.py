"""ValidatingAdmissionPolicies and their bindings, as those meet them whose requests they judge."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conversing import MERGE, NAMESPACE, Conversation

from kfcore.api.meta import Manifest
from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

MAPS = f"{NAMESPACE}/configmaps"
GROUP = "/apis/admissionregistration.k8s.io/v1"
POLICIES, BINDINGS = f"{GROUP}/validatingadmissionpolicies", f"{GROUP}/validatingadmissionpolicybindings"
ABOUT_MAPS = {
    "resourceRules": [
        {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]}
    ]
}
PARAMS = {"apiVersion": "v1", "kind": "ConfigMap"}


@pytest.fixture
def ask() -> Conversation:
    return Conversation(ApiServer(clock=FakeClock(), seed=1), user="ann", groups=("g",))


def a_policy(*validations: str | Manifest, **spec: Any) -> Manifest:
    listed = [{"expression": one} if isinstance(one, str) else one for one in validations]
    return {"metadata": {"name": "p"}, "spec": {"matchConstraints": ABOUT_MAPS, "validations": listed, **spec}}


def a_binding(**spec: Any) -> Manifest:
    return {"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"], **spec}}


async def install(ask: Conversation, policy: Manifest, binding: Manifest | None = None) -> None:
    await ask.created(POLICIES, policy)
    await ask.created(BINDINGS, binding or a_binding())


def a_map(name: str = "m", **data: str) -> Manifest:
    return {"metadata": {"name": name}, "data": data}


async def verdict(ask: Conversation, manifest: Manifest | None = None) -> str:
    """What is said to a new config map: nothing, where it is made."""
    status, answer = await ask("POST", MAPS, manifest or a_map())
    return "" if status == 201 else answer["message"].partition("denied request: ")[2] or answer["message"]


async def test_a_policy_denies_what_its_expression_does_not_hold_for(ask: Conversation) -> None:
    await install(ask, a_policy("object.metadata.name.startsWith('good')"))
    status, answer = await ask("POST", MAPS, a_map("bad"))
    why = (
        "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: "
        "object.metadata.name.startsWith('good')"
    )
    assert answer == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'configmaps "bad" is forbidden: {why}',
        "reason": "Invalid",
        "details": {"name": "bad", "kind": "configmaps", "causes": [{"message": why}]},
        "code": 422,
    }
    assert status == 422
    assert (await ask("POST", MAPS, a_map("good")))[0] == 201


async def test_a_policy_without_a_binding_denies_nothing(ask: Conversation) -> None:
    await ask.created(POLICIES, a_policy("false"))
    assert not await verdict(ask)


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        ({"message": "no"}, "no"),
        ({"messageExpression": "'not ' + object.metadata.name", "message": "no"}, "not m"),
        ({"messageExpression": "object.metadata.nothing", "message": "no"}, "no"),
        ({"messageExpression": "' '"}, "failed expression: false"),
    ],
)
async def test_a_validation_says_what_it_has_to_say(ask: Conversation, validation: Manifest, said: str) -> None:
    await install(ask, a_policy({"expression": "false", **validation}))
    assert await verdict(ask) == said


@pytest.mark.parametrize(("reason", "code"), [("Forbidden", 403), ("Unauthorized", 401), ("Invalid", 422)])
async def test_a_validation_chooses_the_code(ask: Conversation, reason: str, code: int) -> None:
    await install(ask, a_policy({"expression": "false", "reason": reason}))
    status, answer = await ask("POST", MAPS, a_map())
    assert (status, answer["reason"], answer["code"]) == (code, reason, code)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("object.data.size() == 1 && oldObject == null", ""),
        ("request.operation == 'CREATE' && request.userInfo.username == 'ann' && 'g' in request.userInfo.groups", ""),
        ("namespaceObject.metadata.name == request.namespace", ""),
        ("authorizer.requestResource.check('create').allowed()", ""),
        ("object.data.all(key, key.size() < 3)", ""),
        ("has(object.data.b)", "failed expression: has(object.data.b)"),
        ("object.data.b == 'x'", "expression 'object.data.b == 'x'' resulted in error: no such key: b"),
    ],
)
async def test_an_expression_sees_the_request(ask: Conversation, expression: str, said: str) -> None:
    await install(ask, a_policy(expression))
    assert await verdict(ask, a_map(a="1")) == said


async def test_a_change_is_judged_by_what_was(ask: Conversation) -> None:
    await install(ask, a_policy("oldObject == null || object.data.a == oldObject.data.a"))
    await ask.created(MAPS, a_map(a="1"))
    assert (await ask("PATCH", f"{MAPS}/m", {"data": {"b": "2"}}, MERGE))[0] == 200
    assert "denied request" in await ask.refusal("PATCH", f"{MAPS}/m", {"data": {"a": "2"}}, MERGE)
    assert (await ask("DELETE", f"{MAPS}/m"))[0] == 200


async def test_variables_are_there_for_later_expressions(ask: Conversation) -> None:
    variables = [
        {"name": "size", "expression": "object.data.size()"},
        {"name": "twice", "expression": "variables.size * 2"},
        {"name": "broken", "expression": "object.data.nothing"},
    ]
    await install(ask, a_policy("variables.twice == 4", "variables.broken == 1", variables=variables))
    said = await verdict(ask, a_map(a="1", b="2"))
    assert said == (
        "expression 'variables.broken == 1' resulted in error: composited variable \"broken\" fails to evaluate: "
        "no such key: nothing"
    )


async def test_conditions_say_whom_a_policy_is_about(ask: Conversation) -> None:
    conditions = [{"name": "named", "expression": "object.metadata.name == 'judged'"}]
    await install(ask, a_policy("false", matchConditions=conditions))
    assert not await verdict(ask, a_map("other"))
    assert await verdict(ask, a_map("judged")) == "failed expression: false"


@pytest.mark.parametrize(("policy", "said"), [("Fail", "no such key: nothing"), ("Ignore", "")])
async def test_what_cannot_be_evaluated_counts_by_the_failure_policy(ask: Conversation, policy: str, said: str) -> None:
    await install(ask, a_policy("object.nothing == 1", failurePolicy=policy))
    assert (await verdict(ask)).endswith(said)
    assert bool(said) == bool(await verdict(ask, a_map("n")))


async def test_a_binding_may_warn_instead_of_denying(ask: Conversation) -> None:
    policy = a_policy({"expression": "false", "message": "not nice"})
    await install(ask, policy, a_binding(validationActions=["Warn", "Audit"]))
    request = Request("POST", MAPS, {}, {"content-type": "application/json"}, json.dumps(a_map()).encode())
    answer = await ask.server.handle(request)
    said = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': not nice"
    assert (answer.status, answer.headers["warning"]) == (201, f'299 - "{said}"')


async def test_a_binding_narrows_what_its_policy_is_about(ask: Conversation) -> None:
    resources = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "strict"}}}
    await install(ask, a_policy("false"), a_binding(matchResources=resources))
    await ask.created("/api/v1/namespaces", {"metadata": {"name": "strict"}})
    assert not await verdict(ask)
    assert "denied" in await ask.refusal("POST", "/api/v1/namespaces/strict/configmaps", a_map())


async def test_some_are_left_out_by_a_rule(ask: Conversation) -> None:
    rule = {**ABOUT_MAPS["resourceRules"][0], "resourceNames": ["free"]}
    await install(ask, a_policy("false", matchConstraints={**ABOUT_MAPS, "excludeResourceRules": [rule]}))
    assert not await verdict(ask, a_map("free"))
    assert await verdict(ask)


async def test_a_parameter_is_what_the_binding_names(ask: Conversation) -> None:
    await ask.created(MAPS, a_map("limits", most="2"))
    policy = a_policy(
        {
            "expression": "object.data.size() <= int(params.data.most)",
            "messageExpression": "'most: ' + params.data.most",
        },
        paramKind=PARAMS,
    )
    await install(ask, policy, a_binding(paramRef={"name": "limits", "parameterNotFoundAction": "Deny"}))
    assert not await verdict(ask, a_map("few", a="1"))
    assert await verdict(ask, a_map("many", a="1", b="1", c="1")) == "most: 2"
    await ask("DELETE", f"{MAPS}/limits")
    gone = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    assert await verdict(ask, a_map("other")) == gone


async def test_every_parameter_that_is_selected_has_to_agree(ask: Conversation) -> None:
    for name, most in (("x", "5"), ("y", "1")):
        labels = {"name": name, "labels": {"limits": "yes"}}
        await ask.created(MAPS, {"metadata": labels, "data": {"most": most}})
    reference = {"selector": {"matchLabels": {"limits": "yes"}}, "parameterNotFoundAction": "Allow"}
    policy = a_policy("object.data.size() <= int(params.data.most)", paramKind=PARAMS)
    await install(ask, policy, a_binding(paramRef=reference))
    assert await verdict(ask, a_map("two", a="1", b="1"))
    assert not await verdict(ask, a_map("one", a="1"))


async def test_policies_do_not_judge_policies(ask: Conversation) -> None:
    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]}
    await install(ask, a_policy("false", matchConstraints={"resourceRules": [everything]}))
    assert await verdict(ask)
    assert (await ask("DELETE", f"{BINDINGS}/b"))[0] == 200
    assert not await verdict(ask)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"validations": [{"expression": "1 +"}]}, 'spec.validations[0].expression: Invalid value: "1 +": compilation'),
        (
            {"validations": [{"expression": "1"}]},
            'spec.validations[0].expression: Invalid value: "1": must evaluate to',
        ),
        ({"validations": [{"expression": "params == 1"}]}, "undeclared reference to 'params'"),
        ({"variables": [{"name": "a-b", "expression": "1"}]}, "name is not a valid CEL identifier"),
        ({"validations": [{"expression": "true", "reason": "Why"}]}, 'Unsupported value: "Why": supported values'),
        ({"paramKind": {"kind": "ConfigMap"}}, "spec.paramKind.apiVersion: Required value"),
    ],
)
async def test_a_policy_that_could_not_be_followed_is_refused(ask: Conversation, spec: Manifest, said: str) -> None:
    assert said in await ask.refusal(
        "POST", POLICIES, a_policy("true") | {"spec": {**a_policy("true")["spec"], **spec}}
    )


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ({"name": "x", "selector": {}, "parameterNotFoundAction": "Deny"}, "name and selector are mutually exclusive"),
        ({"parameterNotFoundAction": "Deny"}, "one of name or selector must be specified"),
        ({"name": "x"}, "spec.paramRef.parameterNotFoundAction: Required value"),
    ],
)
async def test_a_binding_that_could_not_be_followed_is_refused(
    ask: Conversation, reference: Manifest, said: str
) -> None:
    assert said in await ask.refusal("POST", BINDINGS, a_binding(paramRef=reference))
