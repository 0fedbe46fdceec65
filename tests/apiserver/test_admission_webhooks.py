"""What comes of the webhook configurations that an API server holds: they are asked, and their word counts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from conversing import MERGE, NAMESPACE, PODS, Conversation, OneServer, a_pod
from reviewing_webhooks import ALLOWED, Reviewer, configuration, denied, patch, rule, set_at

from kfcore.api.meta import Manifest
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.server import ApiServer
from kfcore.apiserver.streaming import PodProcesses
from kfcore.testing import FakeClock

MAPS = f"{NAMESPACE}/configmaps"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"


class Api:
    """An API server, and what it says."""

    def __init__(self, pod_processes: PodProcesses | None = None) -> None:
        self.server = ApiServer(clock=FakeClock(), seed=1, pod_processes=pod_processes)
        self._converse = Conversation(self.server, user="ann", groups=("g",))

    async def ask(self, method: str, path: str, body: Any = None, type_: str = "application/json") -> Manifest:
        return (await self._converse(method, path, body, type_))[1]

    async def post(self, manifest: Manifest) -> Response:
        """The whole answer to a new config map."""
        headers = {"content-type": "application/json"}
        return await self.server.handle(Request("POST", MAPS, {}, headers, json.dumps(manifest).encode()))

    async def configure(self, kind: str, *webhooks: Manifest, name: str = "test") -> None:
        manifest = configuration(kind, *webhooks, name=name)
        await self._converse.created(f"{CONFIGURATIONS}/{manifest['kind'].lower()}s", manifest)

    async def create(self, name: str = "m", **fields: Any) -> Manifest:
        return await self.ask("POST", MAPS, a_map(name, **fields))


def a_map(name: str = "m", **fields: Any) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


@pytest.fixture
async def reviewer(tmp_path: Path) -> AsyncIterator[Reviewer]:
    async with Reviewer(tmp_path).serving() as reviewer:
        yield reviewer


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = Api()
    yield api
    await api.server.close()


def operations_of(reviewer: Reviewer) -> list[str]:
    return [request["operation"] for _, request in reviewer.asked]


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_denial_is_the_users_answer(api: Api, reviewer: Reviewer) -> None:
    await api.configure(
        "Validating", reviewer.webhook("v", answer=lambda _: denied("no", code=403, reason="Forbidden"))
    )
    answer = await api.create()
    assert answer == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'admission webhook "v.example.com" denied the request: no',
        "reason": "Forbidden",
        "code": 403,
    }
    assert (await api.ask("GET", f"{MAPS}/m"))["reason"] == "NotFound"


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        ({}, "without explanation", 400),
        ({"reason": "Teapot"}, "Teapot", 400),
        ({"message": "tired", "code": 200}, "tired", 400),
        ({"message": "tired", "code": 418}, "tired", 418),
    ],
)
async def test_a_denial_may_say_little(api: Api, reviewer: Reviewer, status: Manifest, message: str, code: int) -> None:
    await api.configure("Validating", reviewer.webhook("v", answer=lambda _: {"allowed": False, "status": status}))
    answer = await api.create()
    colon = "" if message == "without explanation" else ":"
    assert answer["message"] == f'admission webhook "v.example.com" denied the request{colon} {message}'
    assert answer["code"] == code


async def test_a_webhook_changes_what_is_stored(api: Api, reviewer: Reviewer) -> None:
    label = set_at("/metadata/labels", {"by": "webhook"})
    await api.configure("Mutating", reviewer.webhook("m", answer=lambda _: patch(label, set_at("/data", {"a": "b"}))))
    made = await api.create()
    assert (made["metadata"]["labels"], made["data"]) == ({"by": "webhook"}, {"a": "b"})
    assert (await api.ask("GET", f"{MAPS}/m"))["data"] == {"a": "b"}


async def test_what_a_webhook_makes_of_an_object_has_to_be_valid(api: Api, reviewer: Reviewer) -> None:
    answers = lambda _: patch(set_at("/metadata/labels", {"a b": "c"}))  # noqa: E731
    await api.configure("Mutating", reviewer.webhook("m", answer=answers))
    answer = await api.create()
    assert (answer["reason"], answer["code"]) == ("Invalid", 422)
    assert "metadata.labels" in answer["message"]


async def test_one_webhook_sees_what_another_has_made(api: Api, reviewer: Reviewer) -> None:
    await api.configure("Mutating", reviewer.webhook("b", "/b", lambda _: patch(set_at("/data", {"b": "1"}))), name="b")
    await api.configure("Mutating", reviewer.webhook("a", "/a", lambda _: patch(set_at("/data", {"a": "1"}))), name="a")
    await api.configure("Validating", reviewer.webhook("v", "/v"))
    await api.create()
    assert [(path, request["object"].get("data")) for path, request in reviewer.asked] == [
        ("/a", None),
        ("/b", {"a": "1"}),
        ("/v", {"b": "1"}),
    ]


async def test_a_webhook_is_asked_again_if_it_wishes_when_another_changes_its_object(
    api: Api, reviewer: Reviewer
) -> None:
    first = reviewer.webhook("a", "/a", reinvocationPolicy="IfNeeded")
    calm = reviewer.webhook("b", "/b")
    last = reviewer.webhook("c", "/c", lambda _: patch(set_at("/data", {"c": "1"})), reinvocationPolicy="IfNeeded")
    await api.configure("Mutating", first, calm, last)
    await api.create()
    assert [path for path, _ in reviewer.asked] == ["/a", "/b", "/c", "/a"]


async def test_warnings_reach_the_user_whatever_the_verdict(api: Api, reviewer: Reviewer) -> None:
    reviewer.answers["/w"] = lambda request: {
        "allowed": request["name"] != "bad",
        "warnings": ["mind the gap", "mind the gap"],
    }
    webhook = reviewer.webhook("v", "/w", reviewer.answers["/w"])
    await api.configure("Validating", webhook)
    for name, status in (("good", 201), ("bad", 400)):
        answer = await api.post(a_map(name))
        assert (answer.status, answer.headers["warning"]) == (status, '299 - "mind the gap"')


# ── what is asked ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_review_says_who_wants_what(api: Api, reviewer: Reviewer) -> None:
    await api.configure("Mutating", reviewer.webhook("m", "/m"))
    await api.configure("Validating", reviewer.webhook("v", "/v"))
    made = await api.create(data={"a": "b"})
    (_, before), (_, request) = reviewer.asked
    assert "uid" not in before["object"]["metadata"]  # it is a wish as yet
    assert before.pop("uid") != request.pop("uid")
    stored = {key: value for key, value in made["metadata"].items() if key != "resourceVersion"}
    assert request == {
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "requestKind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "requestResource": {"group": "", "version": "v1", "resource": "configmaps"},
        "name": "m",
        "namespace": "default",
        "operation": "CREATE",
        "userInfo": {"username": "ann", "groups": ["g"]},
        "object": {**a_map(data={"a": "b"}), "metadata": stored},
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    }


async def test_every_kind_of_write_is_asked_about(api: Api, reviewer: Reviewer) -> None:
    await api.configure("Validating", reviewer.webhook("v"))
    await api.create()
    await api.ask("PUT", f"{MAPS}/m", a_map(data={"a": "1"}))
    await api.ask("PATCH", f"{MAPS}/m", {"data": {"a": "2"}}, MERGE)
    await api.ask(
        "PATCH", f"{MAPS}/m?fieldManager=me&force=true", a_map(data={"a": "3"}), "application/apply-patch+yaml"
    )
    await api.ask("PATCH", f"{MAPS}/n?fieldManager=me", a_map("n"), "application/apply-patch+yaml")
    await api.ask("GET", f"{MAPS}/m")
    await api.ask("DELETE", f"{MAPS}/m", {"gracePeriodSeconds": 0})
    assert operations_of(reviewer) == ["CREATE", "UPDATE", "UPDATE", "UPDATE", "CREATE", "DELETE"]
    _, deletion = reviewer.asked[-1]
    assert (deletion["object"], deletion["oldObject"]["data"]) == (None, {"a": "3"})
    assert deletion["options"]["gracePeriodSeconds"] == 0
    _, update = reviewer.asked[1]
    assert (update["object"]["data"], update["oldObject"].get("data")) == ({"a": "1"}, None)


async def test_of_a_collection_each_deletion_is_asked_about(api: Api, reviewer: Reviewer) -> None:
    for name in "abc":
        await api.create(name)
    keep_b = lambda request: ALLOWED if request["name"] != "b" else denied("not b")  # noqa: E731
    await api.configure("Validating", reviewer.webhook("v", answer=keep_b))
    assert "not b" in (await api.ask("DELETE", MAPS))["message"]
    assert [request["name"] for _, request in reviewer.asked] == ["a", "b"]
    left = (await api.ask("GET", MAPS))["items"]
    assert [item["metadata"]["name"] for item in left] == ["b", "c"]


async def test_a_name_that_is_made_up_is_that_of_the_object_which_was_judged(api: Api, reviewer: Reviewer) -> None:
    await api.configure("Mutating", reviewer.webhook("m", "/m"))
    await api.configure("Validating", reviewer.webhook("v", "/v"))
    made = await api.ask("POST", MAPS, {**a_map(), "metadata": {"generateName": "m-"}})
    (_, before), (_, judged) = reviewer.asked
    assert "name" not in before["object"]["metadata"]
    assert judged["object"]["metadata"]["name"] == made["metadata"]["name"]
    assert judged["object"]["metadata"]["uid"] == made["metadata"]["uid"]


async def test_a_service_keeps_the_address_that_was_judged(api: Api, reviewer: Reviewer) -> None:
    await api.configure("Validating", reviewer.webhook("v", rules=[rule("services")]))
    service = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    made = await api.ask("POST", f"{NAMESPACE}/services", service)
    ((_, judged),) = reviewer.asked
    assert judged["object"]["spec"] == made["spec"]


async def test_what_changed_while_a_webhook_thought_it_over_is_judged_anew(api: Api, reviewer: Reviewer) -> None:
    await api.create(data={"a": "0"})
    kind = api.server.kinds.at("", "v1", "configmaps")
    assert kind is not None

    def meanwhile(request: Manifest) -> Manifest:
        if len(reviewer.asked) == 1:
            api.server.objects.update(kind, "default", "m", lambda found: {**found, "data": {"b": "1"}})
        return ALLOWED

    await api.configure("Validating", reviewer.webhook("v", answer=meanwhile))
    await api.ask("PATCH", f"{MAPS}/m", {"data": {"c": "2"}}, MERGE)
    assert [request["object"]["data"] for _, request in reviewer.asked] == [{"a": "0", "c": "2"}, {"b": "1", "c": "2"}]


# ── who is asked ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"rules": []}, False),
        ({"rules": [rule("configmaps", operations=("UPDATE",))]}, False),
        ({"rules": [rule("*", operations=("CREATE",), group="*")]}, True),
        ({"rules": [rule("configmaps/status")]}, False),
        ({"rules": [rule("*/*")]}, True),
        ({"rules": [rule("configmaps", group="apps")]}, False),
        ({"rules": [rule("configmaps", scope="Cluster")]}, False),
        ({"rules": [rule("configmaps", scope="Namespaced")]}, True),
        ({"objectSelector": {"matchLabels": {"a": "b"}}}, True),
        ({"objectSelector": {"matchLabels": {"a": "c"}}}, False),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, True),
        ({"namespaceSelector": {"matchExpressions": [{"key": "x", "operator": "Exists"}]}}, False),
        ({"matchConditions": [{"name": "c", "expression": "object.metadata.name == 'm'"}]}, True),
        ({"matchConditions": [{"name": "c", "expression": "request.userInfo.username != 'ann'"}]}, False),
        ({"matchConditions": [{"name": "c", "expression": "authorizer.path('/x').check('get').allowed()"}]}, True),
    ],
)
async def test_a_webhook_is_asked_about_what_it_is_for(
    api: Api, reviewer: Reviewer, fields: Manifest, asked: bool
) -> None:
    await api.configure("Validating", reviewer.webhook("v", **fields))
    await api.ask("POST", MAPS, {**a_map(), "metadata": {"name": "m", "labels": {"a": "b"}}})
    assert operations_of(reviewer) == (["CREATE"] if asked else [])


async def test_a_subresource_is_asked_about_by_its_own_name(api: Api, reviewer: Reviewer) -> None:
    deployment = {
        "metadata": {"name": "d"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    }
    place = "/apis/apps/v1/namespaces/default/deployments"
    await api.ask("POST", place, deployment)
    three = reviewer.webhook("m", "/m", lambda _: patch(set_at("/spec/replicas", 3)))
    await api.configure("Mutating", {**three, "rules": [rule("deployments/scale", group="apps")]})
    scale = await api.ask("PATCH", f"{place}/d/scale", {"spec": {"replicas": 9}}, MERGE)
    ((_, request),) = reviewer.asked
    assert (request["kind"]["kind"], request["subResource"]) == ("Scale", "scale")
    assert (request["oldObject"]["spec"], request["object"]["spec"]) == ({"replicas": 1}, {"replicas": 9})
    assert scale["spec"] == {"replicas": 3}
    assert (await api.ask("GET", f"{place}/d"))["spec"]["replicas"] == 3


async def test_a_binding_and_an_exec_can_be_denied(api: Api, reviewer: Reviewer) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await api.ask("POST", PODS, pod)
    webhook = reviewer.webhook("v", answer=lambda _: denied("never"), rules=[rule("pods/binding", "pods/exec")])
    await api.configure("Validating", webhook)
    binding = {"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "p"}, "target": {"name": "n"}}
    assert "never" in (await api.ask("POST", f"{PODS}/p/binding", binding))["message"]
    assert "never" in (await api.ask("POST", f"{PODS}/p/exec?command=ls&stdout=true"))["message"]
    assert [(request["operation"], request["object"]["kind"]) for _, request in reviewer.asked] == [
        ("CREATE", "Binding"),
        ("CONNECT", "PodExecOptions"),
    ]
    assert reviewer.asked[1][1]["object"]["command"] == ["ls"]


@pytest.mark.parametrize(("policy", "asked"), [("Equivalent", "v1"), ("Exact", "")])
async def test_another_version_of_a_kind_is_put_as_the_one_asked_for(
    api: Api, reviewer: Reviewer, policy: str, asked: str
) -> None:
    versions = [
        {
            "name": name,
            "served": True,
            "storage": name == "v1",
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        }
        for name in ("v1", "v2")
    ]
    names = {"plural": "things", "kind": "Thing"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions}
    definition = {"metadata": {"name": "things.example.com"}, "spec": spec}
    await api.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    old = {**rule("things", group="example.com"), "apiVersions": ["v1"]}
    mutates = reviewer.webhook("m", answer=lambda _: patch(set_at("/x", 1)), rules=[old], matchPolicy=policy)
    await api.configure("Mutating", mutates)
    thing = {"apiVersion": "example.com/v2", "kind": "Thing", "metadata": {"name": "t"}}
    made = await api.ask("POST", "/apis/example.com/v2/namespaces/default/things", thing)
    assert made["apiVersion"] == "example.com/v2"
    assert made.get("x") == (1 if asked else None)
    assert [request["object"]["apiVersion"] for _, request in reviewer.asked] == [f"example.com/{asked}"] * bool(asked)
    assert all(request["requestKind"]["version"] == "v2" for _, request in reviewer.asked)


async def test_nobody_is_asked_about_those_who_are_asked(api: Api, reviewer: Reviewer) -> None:
    everything = reviewer.webhook("v", answer=lambda _: denied("no"), rules=[rule("*", group="*")])
    await api.configure("Validating", everything)
    assert (await api.create())["message"].endswith("denied the request: no")
    path = f"{CONFIGURATIONS}/validatingwebhookconfigurations/test"
    assert (await api.ask("DELETE", path))["status"] == "Success"
    assert (await api.create())["kind"] == "ConfigMap"


async def test_behind_a_service_a_pod_answers(tmp_path: Path) -> None:
    async with Reviewer(tmp_path, "hooks.default.svc").serving() as reviewer:
        kubelet = OneServer(reviewer.port)
        api = Api(kubelet)
        service = {
            "metadata": {"name": "hooks"},
            "spec": {"selector": {"app": "a"}, "ports": [{"port": 443, "targetPort": 9443}]},
        }
        await api.ask("POST", f"{NAMESPACE}/services", service)
        await api.ask("POST", PODS, a_pod())
        webhook = reviewer.webhook("v", "/check")
        place = {"namespace": "default", "name": "hooks", "path": "/check"}
        webhook["clientConfig"] = {"service": place, "caBundle": reviewer.bundle}
        await api.configure("Validating", webhook)
        assert 'no endpoints available for service "hooks"' in (await api.create())["message"]
        condition = {"type": "Ready", "status": "True"}
        await api.ask("PATCH", f"{PODS}/p/status", {"status": {"conditions": [condition]}}, MERGE)
        assert (await api.create())["kind"] == "ConfigMap"
        assert (kubelet.asked, [path for path, _ in reviewer.asked]) == ([9443], ["/check"])


# ── dry runs and failures ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_dry_run_asks_those_without_side_effects(api: Api, reviewer: Reviewer) -> None:
    await api.configure("Validating", reviewer.webhook("v", sideEffects="NoneOnDryRun"))
    made = await api.ask("POST", f"{MAPS}?dryRun=All", a_map())
    assert (made["kind"], reviewer.asked[0][1]["dryRun"]) == ("ConfigMap", True)
    assert (await api.ask("GET", f"{MAPS}/m"))["code"] == 404


@pytest.mark.parametrize(("policy", "code"), [("Fail", 500), ("Ignore", 201)])
async def test_a_webhook_that_is_not_there_fails_by_its_policy(
    api: Api, reviewer: Reviewer, policy: str, code: int
) -> None:
    gone = reviewer.webhook("v", failurePolicy=policy)
    gone["clientConfig"] = {"service": {"namespace": "default", "name": "gone"}, "caBundle": reviewer.bundle}
    await api.configure("Validating", gone)
    answer = await api.post(a_map())
    assert answer.status == code
    if code == 500:
        assert isinstance(answer.body, bytes)
        status = json.loads(answer.body)
        why = (
            'failed calling webhook "v.example.com": failed to call webhook: Post '
            '"https://gone.default.svc:443/?timeout=10s": service "gone" not found'
        )
        assert status["message"] == f"Internal error occurred: {why}"
        assert (status["reason"], status["details"]) == ("InternalError", {"causes": [{"message": why}]})


def a_page(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (a_page(500, "oh"), 'failed to call webhook: an error on the server ("oh") has prevented the request from suc'),
        (a_page(404, "oh"), "failed to call webhook: the server could not find the requested resource"),
        (a_page(200, "{}"), "failed to call webhook: Object 'Kind' is missing in '{}'"),
        (a_page(200, "<html>"), "failed to call webhook: couldn't get version/kind; json parse error: invalid char"),
        (
            web.json_response({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}),
            "received invalid webhook response: webhook response was absent",
        ),
        ({"allowed": "true"}, "failed to call webhook: json: cannot unmarshal string into Go struct field"),
        ({"allowed": True, "warnings": 5}, "AdmissionResponse.response.warnings of type []string"),
        ({"allowed": True, "warnings": [5]}, "AdmissionResponse.response.warnings of type []string"),
        ({"allowed": True, "uid": "x"}, "received invalid webhook response: expected response.uid="),
        ({"allowed": True, "patch": "W10="}, "webhook returned response.patch but not response.patchType"),
        ({"allowed": True, "patch": "e30=", "patchType": "JSONPatch"}, "received undecodable patch"),
        ({"allowed": True, "patch": "W3t9XQ==", "patchType": "Merge"}, 'unsupported patch type "Merge"'),
    ],
)
async def test_an_answer_that_is_no_verdict_fails(api: Api, reviewer: Reviewer, answer: Any, why: str) -> None:
    await api.configure("Mutating", reviewer.webhook("m", answer=lambda _: answer))
    status = await api.create()
    assert (status["code"], status["reason"]) == (500, "InternalError")
    assert status["message"].startswith('Internal error occurred: failed calling webhook "m.example.com": ')
    assert why in status["message"]


@pytest.mark.parametrize(
    "response",
    [
        {"allowed": "yes"},
        {"allowed": True, "warnings": 5},
        {"allowed": True, "warnings": [5, None], "auditAnnotations": []},
        {"allowed": False, "status": {"message": 5, "code": "x", "reason": [], "details": {"causes": 3}}},
        {"allowed": False, "status": "no"},
        patch({"op": "remove", "path": "/nothing"}),
        patch({"op": "replace", "path": "", "value": 5}),
        patch({"op": "add", "path": "/metadata", "value": 5}),
        patch({"op": "add", "path": "/metadata/labels", "value": 5}),
        patch({"op": "add", "path": 5}, {}),
    ],
)
async def test_whatever_a_webhook_answers_the_user_gets_an_answer(
    api: Api, reviewer: Reviewer, response: Manifest
) -> None:
    await api.configure("Mutating", reviewer.webhook("m", answer=lambda _: response))
    assert (await api.create())["kind"] in ("Status", "ConfigMap")


@pytest.mark.parametrize("head", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
async def test_what_does_not_even_speak_tls_fails(api: Api, reviewer: Reviewer, head: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        webhook = reviewer.webhook("v")
        webhook["clientConfig"]["url"] = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        await api.configure("Validating", webhook)
        assert 'failed calling webhook "v.example.com"' in (await api.create())["message"]


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ({"op": "remove", "path": "/x"}, 'remove operation does not apply: doc is missing path: "/x": missing value'),
        ({"op": "replace", "path": "/x", "value": 1}, "replace operation does not apply: doc is missing key: /x: miss"),
        ({"op": "test", "path": "/kind", "value": "Pod"}, "testing value /kind failed: test failed"),
        ({"op": "mend", "path": "/kind"}, "Unexpected kind: mend"),
    ],
)
async def test_a_patch_that_does_not_fit_is_told(api: Api, reviewer: Reviewer, operation: Manifest, why: str) -> None:
    await api.configure("Mutating", reviewer.webhook("m", answer=lambda _: patch(operation)))
    assert (await api.create())["message"].startswith(f"Internal error occurred: {why}")


async def test_a_certificate_of_nobody_known_is_not_trusted(api: Api, reviewer: Reviewer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Reviewer(tmp_path / "other")
    webhook = reviewer.webhook("v")
    webhook["clientConfig"]["caBundle"] = other.bundle
    await api.configure("Validating", webhook)
    assert "x509: certificate signed by unknown authority" in (await api.create())["message"]
    assert not reviewer.asked


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"clientConfig": {"url": "http://x"}}, "'https' is the only allowed URL scheme"),
        ({"clientConfig": {"url": "https://"}}, "host must be specified"),
        ({"clientConfig": {"url": "https://a:b@x/?q=1#f"}}, "user information is not permitted in the URL"),
        ({"clientConfig": {"url": "https://x:99999"}}, "url must be a valid URL"),
        ({"clientConfig": {"service": {"name": "s", "namespace": "n", "port": 0}}}, "port is not valid"),
        ({"matchConditions": [{"name": "c", "expression": "1 +"}]}, "webhooks[0].matchConditions[0].expression"),
        ({"matchConditions": [{"name": "c", "expression": "1"}]}, "webhooks[0].matchConditions[0].expression"),
        ({"matchConditions": [{"expression": "true"}]}, "webhooks[0].matchConditions[0].name"),
        ({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}, "webhooks[0].objectSelector"),
    ],
)
async def test_a_configuration_that_could_not_be_followed_is_refused(
    api: Api, reviewer: Reviewer, fields: Manifest, field: str
) -> None:
    manifest = configuration("Validating", reviewer.webhook("v", **fields))
    answer = await api.ask("POST", f"{CONFIGURATIONS}/validatingwebhookconfigurations", manifest)
    assert answer["code"] == 422
    assert field in answer["message"]
