"""Roles that are written: nobody grants what they do not have, and aggregated roles show what they take in."""

from __future__ import annotations

from typing import Any

import pytest
from conversing import MERGE, Conversation

from kfcore.api.meta import Manifest
from kfcore.apiserver.authentication import AUTHENTICATED, MASTERS
from kfcore.apiserver.rbac import RBAC
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

RBAC_API = "/apis/rbac.authorization.k8s.io/v1"
ROLES, BINDINGS = f"{RBAC_API}/namespaces/default/roles", f"{RBAC_API}/namespaces/default/rolebindings"
CLUSTER_ROLES, CLUSTER_BINDINGS = f"{RBAC_API}/clusterroles", f"{RBAC_API}/clusterrolebindings"
EVERY_VERB = ["create", "get", "patch", "update"]


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(clock=FakeClock(), authorizer=RBAC)


@pytest.fixture
def admin(server: ApiServer) -> Conversation:
    return Conversation(server, user="admin", groups=(MASTERS, AUTHENTICATED))


@pytest.fixture
def bob(server: ApiServer) -> Conversation:
    return Conversation(server, user="bob", groups=(AUTHENTICATED,))


def a_role(name: str, *rules: tuple[str, str, list[str]], **more: Any) -> Manifest:
    listed = [{"apiGroups": [group], "resources": [resource], "verbs": verbs} for group, resource, verbs in rules]
    return {"metadata": {"name": name}, "rules": listed, **more}


def a_binding(name: str, role: str, user: str, kind: str = "Role") -> Manifest:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
    return {"metadata": {"name": name}, "roleRef": reference, "subjects": [{"kind": "User", "name": user}]}


async def bob_may(admin: Conversation, *rules: tuple[str, str, list[str]]) -> None:
    await admin.created(ROLES, a_role("of-bob", *rules))
    await admin.created(BINDINGS, a_binding("of-bob", "of-bob", "bob"))


async def test_a_role_gives_no_more_than_its_author_has(admin: Conversation, bob: Conversation) -> None:
    await bob_may(admin, ("", "pods", ["get", "list"]), ("rbac.authorization.k8s.io", "roles", EVERY_VERB))
    await bob.created(ROLES, a_role("readers", ("", "pods", ["get"])))
    said = await bob.refusal("POST", ROLES, a_role("more", ("", "pods", ["get", "delete"]), ("", "secrets", ["get"])))
    assert said.splitlines() == [
        '403 roles.rbac.authorization.k8s.io "more" is forbidden: user "bob" (groups=["system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:",
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}',
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}',
    ]
    grown = {"rules": a_role("", ("*", "*", ["*"]))["rules"]}
    assert "not currently held" in await bob.refusal("PATCH", f"{ROLES}/readers", grown, MERGE)
    assert (await bob("PATCH", f"{ROLES}/readers", {"metadata": {"labels": {"a": "b"}}}, MERGE))[0] == 200
    await admin.created(ROLES, a_role("anything", ("*", "*", ["*"])))


async def test_a_binding_gives_no_more_than_its_author_has(admin: Conversation, bob: Conversation) -> None:
    await bob_may(admin, ("", "pods", ["get"]), ("rbac.authorization.k8s.io", "rolebindings", EVERY_VERB))
    await admin.created(ROLES, a_role("readers", ("", "pods", ["get"])))
    await bob.created(BINDINGS, a_binding("fine", "readers", "eve"))
    assert "not currently held" in await bob.refusal(
        "POST", BINDINGS, a_binding("too-much", "cluster-admin", "bob", "ClusterRole")
    )


async def test_who_may_bind_or_escalate_gives_what_they_do_not_have(admin: Conversation, bob: Conversation) -> None:
    group = "rbac.authorization.k8s.io"
    await bob_may(admin, (group, "roles", [*EVERY_VERB, "bind", "escalate"]), (group, "rolebindings", EVERY_VERB))
    await bob.created(ROLES, a_role("readers", ("", "secrets", ["get"])))
    await bob.created(BINDINGS, a_binding("readers", "readers", "eve"))


async def test_an_aggregated_role_shows_the_rules_that_it_takes_in(admin: Conversation) -> None:
    selectors = {"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]}
    await admin.created(CLUSTER_ROLES, {"metadata": {"name": "all"}, "aggregationRule": selectors})
    part = a_role("part", ("", "pods", ["get"]))
    part["metadata"]["labels"] = {"to": "all"}
    await admin.created(CLUSTER_ROLES, part)
    assert (await admin("GET", f"{CLUSTER_ROLES}/all"))[1]["rules"] == part["rules"]
    await admin("DELETE", f"{CLUSTER_ROLES}/part")
    assert not (await admin("GET", f"{CLUSTER_ROLES}/all"))[1]["rules"]


async def test_a_binding_keeps_its_role(admin: Conversation) -> None:
    await admin.created(CLUSTER_BINDINGS, a_binding("b", "view", "eve", "ClusterRole"))
    other = {"roleRef": {"name": "edit"}}
    said = await admin.refusal("PATCH", f"{CLUSTER_BINDINGS}/b", other, MERGE)
    assert said.endswith("cannot change roleRef")


async def test_malformed_roles_and_bindings_are_refused(admin: Conversation) -> None:
    said = await admin.refusal("POST", ROLES, {"metadata": {"name": "r"}, "rules": [{"nonResourceURLs": ["/x"]}]})
    assert "rules[0].verbs: Required value" in said
    assert "namespaced rules cannot apply to non-resource URLs" in said
    said = await admin.refusal("POST", CLUSTER_BINDINGS, a_binding("b", "", "eve"))
    assert 'roleRef.kind: Unsupported value: "Role"' in said
    assert "roleRef.name: Required value" in said


async def test_a_put_that_creates_takes_leave_to_create(admin: Conversation, bob: Conversation) -> None:
    await bob_may(admin, ("", "endpoints", ["update"]))
    said = await bob.refusal("PUT", "/api/v1/namespaces/default/endpoints/e", {"metadata": {"name": "e"}})
    assert 'User "bob" cannot create resource "endpoints"' in said
