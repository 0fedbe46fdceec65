"""Who may do what: roles and bindings enforced, in kube-apiserver's words; tokens, reviews and impersonation."""

from __future__ import annotations

import pytest

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.api.resource import Resource
from kfcore.apiserver.authentication import User, service_account_user
from kfcore.apiserver.rbac import RBAC
from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore.client.errors import Forbidden
from kfcore.client.rest import RestClient
from kfcore.testing import FakeClock
from kfcore.testing.transport import InProcessTransport

GROUP = "rbac.authorization.k8s.io"
ADMIN = User("root", ("system:masters",))
ANN = User("ann", ("team", "system:authenticated"))
TEAM = {"kind": "Group", "apiGroup": GROUP, "name": "team"}
Deployment = untyped(Resource("apps", "v1", "Deployment", "deployments"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def api(clock: FakeClock) -> ApiServer:
    return ApiServer(clock=clock, authorizer=RBAC, tokens={"anns-token": ANN})


async def ask(
    api: ApiServer, user: User, method: str, path: str, body: Manifest | None = None, **headers: str
) -> Manifest:
    path, _, query = path.partition("?")
    pairs = dict(pair.split("=", 1) for pair in query.split("&") if pair)
    content = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    request = Request(method, path, pairs, content, encode_json(body) if body else b"", user.name, user.groups, query)
    answer = await api.handle(request)
    assert isinstance(answer.body, bytes)
    found = decode_json(answer.body) if answer.body.startswith(b"{") else {"text": answer.body.decode()}
    return {"code": answer.status, **found} if "code" not in found else found


async def grant(api: ApiServer, role: Manifest, *subjects: Manifest, namespace: str = "") -> None:
    """A role and its binding, for a namespace or everywhere."""
    kind = "Role" if namespace else "ClusterRole"
    base = f"/apis/{GROUP}/v1" + (f"/namespaces/{namespace}" if namespace else "")
    name = role["metadata"]["name"]
    made = await ask(api, ADMIN, "POST", f"{base}/{kind.lower()}s", {"apiVersion": f"{GROUP}/v1", "kind": kind, **role})
    assert made["code"] == 201, made
    binding = {
        "apiVersion": f"{GROUP}/v1",
        "kind": f"{kind}Binding",
        "metadata": {"name": name},
        "subjects": list(subjects),
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": name},
    }
    made = await ask(api, ADMIN, "POST", f"{base}/{kind.lower()}bindings", binding)
    assert made["code"] == 201, made


def a_role(name: str, *rules: Manifest) -> Manifest:
    return {"metadata": {"name": name}, "rules": list(rules)}


def rule(resource: str, *verbs: str, group: str = "", **more: object) -> Manifest:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs), **more}


def user(name: str) -> Manifest:
    return {"kind": "User", "apiGroup": GROUP, "name": name}


PODS = "/api/v1/namespaces/default/pods"


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        (
            "GET",
            PODS,
            'pods is forbidden: User "ann" cannot list resource "pods" in API group "" in the namespace "default"',
        ),
        (
            "GET",
            f"{PODS}/p/log",
            'pods "p" is forbidden: User "ann" cannot get resource "pods/log" in API group "" '
            'in the namespace "default"',
        ),
        (
            "GET",
            f"{PODS}?watch=true",
            'pods is forbidden: User "ann" cannot watch resource "pods" in API group "" in the namespace "default"',
        ),
        (
            "DELETE",
            "/apis/apps/v1/namespaces/default/deployments/d",
            'deployments.apps "d" is forbidden: User "ann" cannot delete resource "deployments" in API group "apps" '
            'in the namespace "default"',
        ),
        (
            "GET",
            "/api/v1/nodes",
            'nodes is forbidden: User "ann" cannot list resource "nodes" in API group "" at the cluster scope',
        ),
        ("GET", "/metrics", 'forbidden: User "ann" cannot get path "/metrics"'),
        (
            "GET",
            f"{PODS}/p/exec",
            'pods "p" is forbidden: User "ann" cannot create resource "pods/exec" in API group "" '
            'in the namespace "default"',
        ),
    ],
)
async def test_who_has_no_role_is_refused_in_the_servers_words(
    api: ApiServer, method: str, path: str, message: str
) -> None:
    answer = await ask(api, ANN, method, path)
    assert (answer["code"], answer["reason"], answer["message"]) == (403, "Forbidden", message)


async def test_everybody_known_may_discover_and_ask_who_they_are(api: ApiServer) -> None:
    for path in ("/api", "/apis", "/apis/apps/v1", "/openapi/v3", "/version", "/healthz"):
        assert (await ask(api, ANN, "GET", path))["code"] == 200, path
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await ask(api, ANN, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
    assert answer["status"]["userInfo"] == {"username": "ann", "groups": ["team", "system:authenticated"]}


async def test_a_role_counts_in_its_namespace_only(api: ApiServer) -> None:
    await grant(api, a_role("reader", rule("pods", "get", "list")), user("ann"), namespace="default")
    assert (await ask(api, ANN, "GET", PODS))["code"] == 200
    assert (await ask(api, ANN, "GET", "/api/v1/namespaces/kube-system/pods"))["code"] == 403
    assert (await ask(api, ANN, "GET", "/api/v1/pods"))["code"] == 403
    assert (await ask(api, ANN, "GET", f"{PODS}/p/log"))["code"] == 403
    assert (await ask(api, ANN, "POST", PODS, {"apiVersion": "v1", "kind": "Pod"}))["code"] == 403


async def test_a_change_of_a_role_counts_at_once(api: ApiServer) -> None:
    await grant(api, a_role("reader", rule("pods", "list")), user("ann"))
    assert (await ask(api, ANN, "GET", PODS))["code"] == 200
    assert (await ask(api, ADMIN, "DELETE", f"/apis/{GROUP}/v1/clusterroles/reader"))["code"] == 200
    assert (await ask(api, ANN, "GET", PODS))["code"] == 403


async def test_named_objects_wildcards_groups_and_paths(api: ApiServer) -> None:
    await grant(
        api,
        a_role(
            "mixed",
            rule("configmaps", "get", resourceNames=["mine"]),
            rule("*", "*", group="apps"),
            {"nonResourceURLs": ["/metrics", "/logs/*"], "verbs": ["get"]},
        ),
        {"kind": "Group", "apiGroup": GROUP, "name": "team"},
    )
    maps = "/api/v1/namespaces/default/configmaps"
    assert (await ask(api, ANN, "GET", f"{maps}/mine"))["code"] == 404
    assert (await ask(api, ANN, "GET", f"{maps}/other"))["code"] == 403
    assert (await ask(api, ANN, "GET", maps))["code"] == 403
    assert (await ask(api, ANN, "PATCH", "/apis/apps/v1/namespaces/default/deployments/d/scale"))["code"] != 403
    assert (await ask(api, ANN, "GET", "/metrics"))["code"] == 404
    assert (await ask(api, ANN, "GET", "/logs/a/b"))["code"] == 404
    assert (await ask(api, ANN, "GET", "/debug"))["code"] == 403


async def test_an_aggregated_role_takes_in_what_its_selector_finds(api: ApiServer) -> None:
    await grant(api, {"metadata": {"name": "base"}, "aggregationRule": {"clusterRoleSelectors": [
        {"matchLabels": {"part-of": "base"}}]}}, user("ann"))  # fmt: skip
    assert (await ask(api, ANN, "GET", PODS))["code"] == 403
    part = {**a_role("part", rule("pods", "list")), "apiVersion": f"{GROUP}/v1", "kind": "ClusterRole"}
    part["metadata"] = {"name": "part", "labels": {"part-of": "base"}}
    await ask(api, ADMIN, "POST", f"/apis/{GROUP}/v1/clusterroles", part)
    assert (await ask(api, ANN, "GET", PODS))["code"] == 200


async def test_the_default_roles_are_those_that_users_know(api: ApiServer) -> None:
    binding = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "edits"},
        "subjects": [user("ann")],
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "edit"},
    }
    await ask(api, ADMIN, "POST", f"/apis/{GROUP}/v1/namespaces/default/rolebindings", binding)
    assert (await ask(api, ANN, "GET", PODS))["code"] == 200
    assert (await ask(api, ANN, "GET", "/api/v1/namespaces/default/secrets"))["code"] == 200
    assert (await ask(api, ANN, "GET", f"/apis/{GROUP}/v1/namespaces/default/roles"))["code"] == 403


async def test_reviews_answer_by_the_roles(api: ApiServer) -> None:
    await grant(api, a_role("reader", rule("pods", "list")), user("ann"), namespace="default")

    async def may(verb: str, namespace: str) -> bool:
        attributes = {"verb": verb, "resource": "pods", "namespace": namespace}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                  "spec": {"resourceAttributes": attributes}}  # fmt: skip
        own = await ask(api, ANN, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        review = {**review, "kind": "SubjectAccessReview", "spec": {**review["spec"], "user": "ann"}}
        other = await ask(api, ADMIN, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        assert own["status"]["allowed"] == other["status"]["allowed"]
        return bool(own["status"]["allowed"])

    assert await may("list", "default")
    assert not await may("list", "kube-system")
    assert not await may("delete", "default")
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": "default"},
    }
    rules = await ask(api, ANN, "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)
    assert rule("pods", "list") in rules["status"]["resourceRules"]


async def test_who_may_impersonate_is_who_they_say(api: ApiServer) -> None:
    answer = await ask(api, ADMIN, "GET", PODS, impersonate_user="ann")
    assert 'User "ann" cannot list' in answer["message"]
    answer = await ask(api, ANN, "GET", PODS, impersonate_user="root", impersonate_group="system:masters")
    assert 'User "ann" cannot impersonate resource "users"' in answer["message"]
    await grant(api, a_role("reader", rule("pods", "list")), TEAM)
    assert (await ask(api, ADMIN, "GET", PODS, impersonate_user="bob", impersonate_group="team"))["code"] == 200


async def test_a_uid_and_what_else_is_known_can_be_impersonated_too(api: ApiServer) -> None:
    claims = {"impersonate_user": "bob", "impersonate_uid": "7", "impersonate_extra_example.com%2fteam": "a\nb"}
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    place = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    await grant(api, a_role("users", {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}), TEAM)
    answer = await ask(api, ADMIN, "POST", place, review, **claims)
    assert answer["status"]["userInfo"] == {
        "username": "bob",
        "uid": "7",
        "groups": ["system:authenticated"],
        "extra": {"example.com/team": ["a", "b"]},
    }
    answer = await ask(api, ANN, "POST", place, review, **claims)
    assert answer["message"] == (
        'uids.authentication.k8s.io "7" is forbidden: User "ann" cannot impersonate resource "uids" in API group '
        '"authentication.k8s.io" at the cluster scope'
    )
    del claims["impersonate_uid"]
    answer = await ask(api, ANN, "POST", place, review, **claims)
    assert 'cannot impersonate resource "userextras/example.com/team"' in answer["message"]
    answer = await ask(api, ANN, "POST", place, review, impersonate_uid="7")
    assert answer["message"] == "requested impersonate-uid=7 without impersonating a user"


async def a_token(api: ApiServer, **spec: object) -> Manifest:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}}
    await ask(api, ADMIN, "POST", "/api/v1/namespaces/default/serviceaccounts", account)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return await ask(api, ADMIN, "POST", "/api/v1/namespaces/default/serviceaccounts/bot/token", request)


async def test_a_service_accounts_token_is_good_until_it_runs_out(api: ApiServer, clock: FakeClock) -> None:
    made = await a_token(api, expirationSeconds=600)
    found = api.authenticate(made["status"]["token"])
    assert found is not None
    assert (found.name, found.groups) == (
        "system:serviceaccount:default:bot",
        service_account_user("default", "bot").groups,
    )
    await clock.advance(601)
    assert api.authenticate(made["status"]["token"]) is None


async def test_a_service_accounts_token_dies_with_it(api: ApiServer) -> None:
    token = (await a_token(api))["status"]["token"]
    assert api.authenticate(token) is not None
    await ask(api, ADMIN, "DELETE", "/api/v1/namespaces/default/serviceaccounts/bot")
    assert api.authenticate(token) is None


async def test_a_token_that_was_tampered_with_is_nobodys(api: ApiServer) -> None:
    token = (await a_token(api))["status"]["token"]
    head, claims, signature = token.split(".")
    for forged in (
        f"{head}.{claims}x.{signature}",
        f"{head}.{claims}.",
        f"{head}..{signature}",
        "a.b.c",
        "",
        "é",
        "..",
    ):
        assert api.authenticate(forged) is None


async def test_a_token_for_too_short_a_time_is_refused(api: ApiServer) -> None:
    answer = await a_token(api, expirationSeconds=5)
    assert answer["code"] == 422
    assert "may not specify a duration less than 10 minutes" in answer["message"]


async def test_token_reviews_tell_whose_a_token_is(api: ApiServer) -> None:
    async def review(token: str) -> Manifest:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        status: Manifest = (await ask(api, ADMIN, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", body))[
            "status"
        ]
        return status

    assert (await review("anns-token"))["user"]["username"] == "ann"
    assert not (await review("guess"))["authenticated"]
    token = (await a_token(api))["status"]["token"]
    assert (await review(token))["user"]["username"] == "system:serviceaccount:default:bot"


async def test_a_service_account_is_bound_by_its_namespace_and_name(api: ApiServer) -> None:
    await grant(
        api, a_role("reader", rule("pods", "list")), {"kind": "ServiceAccount", "name": "bot", "namespace": "default"}
    )
    client = RestClient(InProcessTransport(api, user="system:serviceaccount:default:bot", groups=()))
    assert await client.list(Pod, "default") == []
    with pytest.raises(Forbidden, match="cannot list resource"):
        await client.list(Deployment, "default")
