"""CEL rules of CRDs: what they accept, what they refuse and in which words, and which rules no CRD may have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kfcore.api.crd import crd
from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore_jax import JAXJob
from kfcore_pytorch.api import PyTorchJob
from kfcore_tf.api import TFJob

THINGS = "/apis/example.com/v1/namespaces/default/things"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RULES = "x-kubernetes-validations"
TEXT, NUMBER = {"type": "string"}, {"type": "integer"}


async def ask(server: ApiServer, method: str, path: str, body: Any) -> tuple[int, Any]:
    type_ = "application/merge-patch+json" if method == "PATCH" else "application/json"
    answer = await server.handle(Request(method, path, {}, {"content-type": type_}, json.dumps(body).encode()))
    assert isinstance(answer.body, bytes)
    return answer.status, json.loads(answer.body)


def things(spec: Any) -> Any:
    schema = {"type": "object", "properties": {"spec": spec}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [version],
        },
    }


def of(properties: Any, *rules: Any, **more: Any) -> Any:
    listed = [rule if isinstance(rule, dict) else {"rule": rule} for rule in rules]
    return {"type": "object", "properties": properties, RULES: listed, **more}


async def refusals(spec_schema: Any, *specs: Any) -> list[tuple[str, str]]:
    """What creating with the first spec, and updating to each further one, is refused for: (field, message)."""
    server = ApiServer()
    status, body = await ask(server, "POST", CRDS, things(spec_schema))
    assert status == 201, body["message"]
    found: list[tuple[str, str]] = []
    for index, spec in enumerate(specs):
        thing = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec}
        method, path = ("PATCH", f"{THINGS}/a") if index else ("POST", THINGS)
        status, body = await ask(server, method, path, thing)
        if status == 422:
            found += [(cause["field"], cause["message"]) for cause in body["details"]["causes"]]
        else:
            assert status in (200, 201), body
    return found


async def broken(rule: Any, spec: Any, properties: Any) -> bool:
    return bool(await refusals(of(properties, rule), spec))


async def test_a_rule_is_about_the_value_whose_schema_has_it() -> None:
    schema = of(
        {
            "size": {**NUMBER, RULES: [{"rule": "self < 10", "message": "too large"}]},
            "parts": {"type": "array", "items": of({"n": NUMBER}, {"rule": "self.n > 0", "message": "n must be set"})},
            "named": {"type": "object", "additionalProperties": of({"n": NUMBER}, "self.n != 5")},
        }
    )
    spec = {"size": 11, "parts": [{"n": 1}, {"n": 0}], "named": {"x": {"n": 5}, "y": {"n": 6}}}
    assert await refusals(schema, spec) == [
        ("spec.size", "Invalid value: too large"),
        ("spec.parts[1]", "Invalid value: n must be set"),
        ("spec.named[x]", "Invalid value: failed rule: self.n != 5"),
    ]


async def test_a_transition_rule_is_about_changes_only() -> None:
    schema = of({"colour": TEXT}, {"rule": "self.colour == oldSelf.colour", "message": "colour is immutable"})
    assert await refusals(schema, {"colour": "red"}, {"colour": "red"}) == []
    assert await refusals(schema, {"colour": "red"}, {"colour": "blue"}) == [
        ("spec", "Invalid value: colour is immutable")
    ]


async def test_a_rule_with_an_optional_old_value_is_about_new_objects_too() -> None:
    rule = {"rule": "self.n == oldSelf.?n.orValue(0) + 1", "optionalOldSelf": True, "message": "count up"}
    schema = of({"n": NUMBER}, rule)
    assert await refusals(schema, {"n": 1}, {"n": 2}, {"n": 3}) == []
    assert await refusals(schema, {"n": 2}) == [("spec", "Invalid value: count up")]
    assert await refusals(schema, {"n": 1}, {"n": 3}) == [("spec", "Invalid value: count up")]


async def test_an_unchanged_value_may_break_a_rule_that_came_later() -> None:
    server = ApiServer()
    await ask(server, "POST", CRDS, things(of({"size": NUMBER, "note": TEXT})))
    thing = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"size": 9}}
    await ask(server, "POST", THINGS, thing)
    server.install_crd(things(of({"size": {**NUMBER, RULES: [{"rule": "self < 5"}]}, "note": TEXT})))
    assert (await ask(server, "PATCH", f"{THINGS}/a", {"spec": {"note": "new"}}))[0] == 200
    assert (await ask(server, "PATCH", f"{THINGS}/a", {"spec": {"size": 8}}))[0] == 422


async def test_messages_may_be_expressions_and_reasons_and_paths_may_be_said() -> None:
    rule = {
        "rule": "self.low <= self.high",
        "messageExpression": "'low is %d, above high, %d'.format([self.low, self.high])",
        "reason": "FieldValueForbidden",
        "fieldPath": ".low",
    }
    schema = of({"low": NUMBER, "high": NUMBER}, rule)
    assert await refusals(schema, {"low": 3, "high": 2}) == [("spec.low", "Forbidden: low is 3, above high, 2")]


async def test_a_rule_that_has_no_value_refuses() -> None:
    assert await refusals(of({"a": NUMBER}, "self.a > 1"), {}) == [
        ("spec", "Invalid value: no such key: a evaluating rule: self.a > 1")
    ]
    mixed = of({"port": {"x-kubernetes-int-or-string": True}}, "self.port > 80")
    assert await refusals(mixed, {"port": "http"}) == [
        (
            "spec",
            "Invalid value: 'no such overload': call arguments did not match a supported operator, function or macro "
            "signature for rule: self.port > 80",
        )
    ]


async def test_rules_wait_until_the_types_are_right() -> None:
    schema = of({"size": NUMBER}, "self.size > 1")
    reported = await refusals(schema, {"size": "x"})
    assert [field for field, _ in reported] == ["spec.size", "<nil>"]


@pytest.mark.parametrize("value", ["a", "é", "YQ==="])
async def test_what_is_no_base64_is_refused_and_its_rules_do_not_mind(value: str) -> None:
    schema = of({"bytes": {"type": "string", "format": "byte"}}, "size(self.bytes) < 9")
    assert await refusals(schema, {"bytes": "YQ=="}) == []
    ((field, message),) = await refusals(schema, {"bytes": value})
    assert field == "spec.bytes"
    assert "must be of type byte" in message


@pytest.mark.parametrize(
    ("number", "fine"), [(4, True), (3, False), (10**400, True), (10**400 + 1, False), (-3, False)], ids=str
)
async def test_a_multiple_may_have_any_number_of_digits(number: int, fine: bool) -> None:
    found = await refusals(of({"number": {"type": "number", "multipleOf": 2}}), {"number": number})
    assert [message.partition("should be ")[2] for _, message in found] == ([] if fine else ["a multiple of 2"])


async def test_an_unchanged_value_may_be_what_the_schema_allows_no_more() -> None:
    server = ApiServer()
    await ask(server, "POST", CRDS, things(of({"size": NUMBER, "note": TEXT})))
    thing = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"size": 9}}
    await ask(server, "POST", THINGS, thing)
    server.install_crd(things(of({"size": {**NUMBER, "maximum": 5}, "note": TEXT})))
    assert (await ask(server, "PATCH", f"{THINGS}/a", {"spec": {"note": "new"}}))[0] == 200
    assert (await ask(server, "PATCH", f"{THINGS}/a", {"spec": {"size": 8}}))[0] == 422


PROPERTIES = {
    "s": TEXT,
    "l": {"type": "array", "items": NUMBER, "maxItems": 100},
    "m": {"type": "object", "additionalProperties": TEXT},
    "at": {"type": "string", "format": "date-time"},
    "for": {"type": "string", "format": "duration"},
    "x": {"type": "number"},
    "a-b": TEXT,
    "namespace": TEXT,
}
SPEC = {
    "s": "Hello", "l": [3, 1, 2], "m": {"k": "v"}, "at": "2026-01-01T00:00:00Z", "for": "90s", "x": 2, "a-b": "dashed",
    "namespace": "ns",
}  # fmt: skip


@pytest.mark.parametrize(
    "rule",
    [
        "has(self.s) && !has(self.l) || size(self.l) == 3",
        "self.s.matches('^H') && self.s.startsWith('He') && self.s.size() == 5",
        "self.s.lowerAscii() == 'hello' && self.s.find('l+') == 'll' && 'a,b'.split(',') == ['a', 'b']",
        "self.l.all(n, n > 0) && self.l.exists(n, n == 2) && self.l.exists_one(n, n == 3)",
        "self.l.sum() == 6 && self.l.max() == 3 && self.l.min() == 1 && self.l.indexOf(2) == 2 && !self.l.isSorted()",
        "3 in self.l && 'k' in self.m && self.m.all(key, self.m[key] == 'v')",
        "self.at > timestamp('2025-01-01T00:00:00Z') && self.__for__ < duration('2m')",
        "self.x * 2.0 == 4.0",
        "self.a__dash__b == 'dashed' && self.__namespace__ == 'ns'",
        "isQuantity('1Gi') && quantity('1Gi').isGreaterThan(quantity('1000M')) && quantity('1') == quantity('1000m')",
        "quantity('1500m').add(quantity('500m')).asInteger() == 2 && quantity('50k').compareTo(quantity('50000')) == 0",
        "isQuantity('1e999999999999') && !isQuantity('１') && !isQuantity('1_000') && !isQuantity(' 1')",
        "url('https://example.com:80/a?b=c').getHostname() == 'example.com' && !isURL('not a url')",
        "url('http://[::1]:80/').getPort() == '80' && url('http://a/').getPort() == '' && !isURL('http://a:b/')",
        "isIP('10.0.0.1') && cidr('10.0.0.0/8').containsIP('10.2.3.4') && ip('::1').family() == 6",
        "sets.contains(self.l, [1, 2]) && sets.intersects(self.l, [9, 1]) && math.greatest(1, 2) == 2",
        "self.?s.orValue('x') == 'Hello'",
        "!format.dns1035Label().validate('a-1').hasValue() && format.dns1035Label().validate('1a').hasValue()",
        "format.named('uuid').hasValue() && !format.named('what').hasValue()",
        "format.dns1123Subdomain().validate('A').value() != [] && !format.labelValue().validate(self.s).hasValue()",
        "cidr('10.0.0.1/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.1/8').ip() == ip('10.0.0.1')",
        "ip('10.0.0.1').isGlobalUnicast() && ip('fe80::1').isLinkLocalUnicast() && !ip('::1').isLinkLocalMulticast()",
        "ip.isCanonical('::1') && !ip.isCanonical('0:0::1')",
    ],
)
async def test_the_language_has_what_kubernetes_documents(rule: str) -> None:
    assert await refusals(of(PROPERTIES, rule), SPEC) == []
    assert await broken(f"!({rule})", SPEC, PROPERTIES)


@pytest.mark.parametrize(
    ("rule", "field", "why"),
    [
        ("self.size >", "rule", "Syntax error"),
        ("self.sise > 1", "rule", "undefined field 'sise'"),
        ("size > 1", "rule", "undeclared reference to 'size'"),
        ("1 + 1", "rule", "must evaluate to a bool"),
        ("self.size", "rule", "must evaluate to a bool"),
        ("self.size > 'x'", "rule", "found no matching overload for '_>_' applied to '(int, string)'"),
        ("self.text == 1 || true", "rule", "found no matching overload for '_==_' applied to '(string, int)'"),
        ("self.size && true", "rule", "found no matching overload for '_&&_' applied to '(int, bool)'"),
        ("[1].all(n, self.text < 2)", "rule", "found no matching overload for '_<_' applied to '(string, int)'"),
        ("self.text.frobnicate()", "rule", "undeclared reference to 'frobnicate'"),
        ("", "rule", "rule is not specified"),
        ("true\n&& true", "message", "message must be specified if rule contains line breaks"),
        ({"rule": "true", "messageExpression": " "}, "messageExpression", "must be non-empty if specified"),
        ({"rule": "true", "fieldPath": " "}, "fieldPath", "fieldPath must be non-empty if specified"),
        ({"rule": "true", "messageExpression": "1"}, "messageExpression", "must evaluate to a string"),
        ({"rule": "true", "fieldPath": ".nowhere"}, "fieldPath", "does not refer to a valid field"),
        ({"rule": "true", "reason": "Because"}, "reason", "Unsupported value"),
        ({"rule": "true", "optionalOldSelf": True}, "optionalOldSelf", "may not be set"),
    ],
)
async def test_a_crd_with_a_malformed_rule_is_refused(rule: Any, field: str, why: str) -> None:
    status, body = await ask(ApiServer(), "POST", CRDS, things(of({"size": NUMBER, "text": TEXT}, rule)))
    (cause,) = body["details"]["causes"]
    assert status == 422
    assert cause["field"] == f"spec.validation.openAPIV3Schema.properties[spec].{RULES}[0].{field}"
    assert why in cause["message"]


@pytest.mark.parametrize(
    ("schema", "field", "message"),
    [
        (of({"a": {}}), "properties[a].type", "Required value: must not be empty for specified object fields"),
        (of({"a": {"type": "array"}}), "properties[a].items", "Required value: must be specified"),
        (of({"a": {**TEXT, "pattern": "a{9999999999}"}}), "properties[a].pattern", "invalid repeat count"),
        (of({"a": {"type": "text"}}), "properties[a].type", 'Unsupported value: "text"'),
        (of({"a": {**NUMBER, "default": "x"}}), "properties[a].default", "must be of type integer"),
        (of({"a": TEXT}, additionalProperties=TEXT), "additionalProperties", "are mutual exclusive"),
    ],
)
async def test_a_crd_whose_schema_is_not_structural_is_refused(schema: Any, field: str, message: str) -> None:
    status, body = await ask(ApiServer(), "POST", CRDS, things(schema))
    (cause,) = body["details"]["causes"]
    assert status == 422
    assert cause["field"] == f"spec.validation.openAPIV3Schema.properties[spec].{field}"
    assert message in cause["message"]


def job(kind: Any, **spec: Any) -> Any:
    return {"apiVersion": "kubeflow.org/v1", "kind": kind.resource.kind, "metadata": {"name": "job"}, "spec": spec}


def replica(container: str, **more: Any) -> Any:
    return {"template": {"spec": {"containers": [{"name": container, "image": "i"}]}}, **more}


PYTORCH = {"Master": replica("pytorch"), "Worker": replica("pytorch")}
GOOD = [
    job(PyTorchJob, pytorchReplicaSpecs=PYTORCH),
    job(TFJob, tfReplicaSpecs={"Chief": replica("tensorflow"), "worker": replica("tensorflow")}),
    job(JAXJob, jaxReplicaSpecs={"Worker": replica("jax")}),
]
BAD = [
    (
        job(PyTorchJob, pytorchReplicaSpecs={"Master": replica("pytorch", replicas=2)}),
        "there must be only one master replica",
    ),
    (
        job(PyTorchJob, pytorchReplicaSpecs={"Master": replica("pytorch")}, elasticPolicy={}),
        "workers are required where elasticPolicy is used",
    ),
    (
        job(PyTorchJob, pytorchReplicaSpecs=PYTORCH, elasticPolicy={"nProcPerNode": 1}, nprocPerNode="1"),
        "elasticPolicy.nProcPerNode is deprecated",
    ),
    (job(PyTorchJob, pytorchReplicaSpecs={"Boss": replica("pytorch")}), "unknown replica type: expected one of"),
    (
        job(TFJob, tfReplicaSpecs={"Chief": replica("tensorflow"), "Master": replica("tensorflow")}),
        "must not have more than 1 Chief or Master role",
    ),
    (
        job(JAXJob, jaxReplicaSpecs={"Worker": replica("jax")}, runPolicy={"managedBy": "me"}),
        "managedBy must be kubeflow.org/training-operator",
    ),
    (GOOD[0] | {"metadata": {"name": "9job"}}, "metadata.name: "),
]
KINDS = {kind.resource.kind: kind for kind in (PyTorchJob, TFJob, JAXJob)}


def jobs_path(manifest: Any) -> str:
    return f"/apis/kubeflow.org/v1/namespaces/default/{KINDS[manifest['kind']].resource.plural}"


@pytest.fixture(scope="module")
def job_server() -> ApiServer:
    server = ApiServer()
    for kind in KINDS.values():
        server.install_crd(crd(kind))
    return server


@pytest.mark.parametrize("manifest", GOOD, ids=lambda manifest: manifest["kind"])
async def test_a_good_job_is_accepted(job_server: ApiServer, manifest: Any) -> None:
    status, body = await ask(job_server, "POST", jobs_path(manifest), manifest)
    assert status == 201, body


@pytest.mark.parametrize(("manifest", "message"), BAD, ids=lambda part: part[:30] if isinstance(part, str) else "")
async def test_a_job_that_breaks_a_rule_is_refused(job_server: ApiServer, manifest: Any, message: str) -> None:
    status, body = await ask(job_server, "POST", jobs_path(manifest), manifest)
    assert status == 422
    assert message in body["message"]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"managedBy": "kueue.x-k8s.io/multikueue"}, "field is immutable"),
        ({"schedulingPolicy": {"queue": "other"}}, "queue is immutable"),
    ],
)
async def test_what_is_immutable_in_a_job_stays(policy: Any, message: str) -> None:
    server = ApiServer()
    server.install_crd(crd(PyTorchJob))
    first = {"managedBy": "kubeflow.org/training-operator", "schedulingPolicy": {"queue": "one"}}
    manifest = job(PyTorchJob, pytorchReplicaSpecs=PYTORCH, runPolicy=first)
    path = jobs_path(manifest)
    assert (await ask(server, "POST", path, manifest))[0] == 201
    status, body = await ask(server, "PATCH", f"{path}/job", {"spec": {"runPolicy": policy}})
    assert status == 422
    assert message in body["message"]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("self.l.all(i, v, i < 2 && v != 'x')", {"l": ["a", "b"]}, {"l": ["a", "b", "c"]}),
        ("self.m.exists(k, v, k == 'a' && v > 1)", {"m": {"a": 2}}, {"m": {"b": 2}}),
        ("self.l.existsOne(i, v, v == 'a')", {"l": ["a", "b"]}, {"l": ["a", "a"]}),
        ("self.l.transformList(i, v, i > 0, v + '!') == ['b!']", {"l": ["a", "b"]}, {"l": ["a"]}),
        ("self.m.transformMap(k, v, v * 2) == {'a': 4}", {"m": {"a": 2}}, {"m": {"a": 3}}),
        (
            "self.l.all(i, v, self.l.exists(j, w, i == j && w != ').all(a, b, c'))",
            {"l": ["a"]},
            {"l": [").all(a, b, c"]},
        ),
        ("self.l.transformList(i, v, v).all(i, v, v != 'x')", {"l": ["a"]}, {"l": ["x"]}),
    ],
)
async def test_macros_take_two_variables(rule: str, good: Any, bad: Any) -> None:
    properties = {"l": {"type": "array", "items": TEXT}, "m": {"type": "object", "additionalProperties": NUMBER}}
    assert await refusals(of(properties, rule), good) == []
    assert await refusals(of(properties, rule), bad) == [("spec", f"Invalid value: failed rule: {rule}")]


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("semver('1.2.3').major() == 1 && semver('1.2.3').patch() == 3", True),
        ("semver('1.10.0').isGreaterThan(semver('1.9.0'))", True),
        ("semver('1.0.0-rc.2').isLessThan(semver('1.0.0'))", True),
        ("semver('1.0.0-rc.2').compareTo(semver('1.0.0-rc.10')) < 0", True),
        ("isSemver('1.2')", False),
        ("isSemver('v1.2', true) && semver('v1.2', true) == semver('1.2.0')", True),
    ],
)
async def test_versions_are_compared(rule: str, holds: bool) -> None:
    assert (await refusals(of({"a": TEXT}, rule), {"a": "x"}) == []) is holds
