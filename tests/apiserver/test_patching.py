"""Strategic merge patches and server-side applies, typed by the kind: what merges, in which order, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kfcore.api.meta import Manifest
from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/web"
APPLY = "application/apply-patch+yaml"
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(clock=FakeClock())


async def ask(server: ApiServer, path: str, body: Any, type_: str, *, method: str = "PATCH") -> tuple[int, Manifest]:
    path, _, query = path.partition("?")
    parameters = dict(pair.split("=") for pair in query.split("&") if pair)
    answer = await server.handle(Request(method, path, parameters, {"content-type": type_}, json.dumps(body).encode()))
    assert isinstance(answer.body, bytes)
    return answer.status, json.loads(answer.body)


def deployment(*containers: Manifest, **spec: Any) -> Manifest:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": list(containers)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


def a_container(name: str, **fields: Any) -> Manifest:
    return {"name": name, "image": "i", **fields}


def pod_spec(answer: Manifest) -> Manifest:
    spec: Manifest = answer["spec"]["template"]["spec"]
    return spec


def names(answer: Manifest) -> list[str]:
    return [container["name"] for container in pod_spec(answer)["containers"]]


def template(**fields: Any) -> Manifest:
    return {"spec": {"template": {"spec": fields}}}


async def a_deployment(server: ApiServer, *containers: Manifest) -> None:
    status, answer = await ask(
        server, DEPLOYMENT.rpartition("/")[0], deployment(*containers), "application/json", method="POST"
    )
    assert status == 201, answer


# ── strategic merge patches ──────────────────────────────────────────────────────────────────────────────────────────


async def test_new_items_of_a_merged_list_come_where_the_patch_has_them(server: ApiServer) -> None:
    await a_deployment(server, a_container("a"), a_container("b"))
    patch = template(containers=[{"name": "b", "image": "j"}, a_container("c")])
    assert names((await ask(server, DEPLOYMENT, patch, STRATEGIC))[1]) == ["a", "b", "c"]
    ordered = {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}
    assert names((await ask(server, DEPLOYMENT, template(**ordered), STRATEGIC))[1]) == ["b", "c", "a"]


async def test_only_lists_that_merge_by_their_type_do(server: ApiServer) -> None:
    await a_deployment(server, a_container("a", env=[{"name": "X", "value": "1"}], args=["one"]))
    tolerations = [{"key": "k", "operator": "Exists"}]
    await ask(server, DEPLOYMENT, template(tolerations=tolerations), STRATEGIC)
    patch = template(
        containers=[{"name": "a", "env": [{"name": "Y", "value": "2"}], "args": ["two"]}],
        tolerations=[{"key": "l", "operator": "Exists"}],
    )
    spec = pod_spec((await ask(server, DEPLOYMENT, patch, STRATEGIC))[1])
    assert [variable["name"] for variable in spec["containers"][0]["env"]] == ["Y", "X"]
    assert spec["containers"][0]["args"] == ["two"]
    assert [toleration["key"] for toleration in spec["tolerations"]] == ["l"]


async def test_retained_keys_drop_the_other_member_of_a_union(server: ApiServer) -> None:
    await a_deployment(server, a_container("a"))
    strategy = {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": None}
    _, answer = await ask(server, DEPLOYMENT, {"spec": {"strategy": strategy}}, STRATEGIC)
    assert answer["spec"]["strategy"] == {"type": "Recreate"}
    refused = {"spec": {"strategy": {"$retainKeys": ["rollingUpdate"], "type": "Recreate"}}}
    assert (await ask(server, DEPLOYMENT, refused, STRATEGIC))[0] == 422


async def test_a_directive_that_is_none_is_refused(server: ApiServer) -> None:
    await a_deployment(server, a_container("a"))
    status, answer = await ask(server, DEPLOYMENT, {"spec": {"$patch": "twist"}}, STRATEGIC)
    assert (status, answer["message"]) == (400, "unknown patch type [twist] in map: map[$patch:twist]")
    status, answer = await ask(server, DEPLOYMENT, template(containers=[{"image": "j"}]), STRATEGIC)
    assert (status, answer["message"]) == (400, "map: map[image:j] does not contain declared merge key: name")


# ── server-side apply ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_apply_that_does_not_fit_the_kinds_types_is_refused_with_every_reason(server: ApiServer) -> None:
    body = deployment(
        a_container("a", ports=[{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}], colour="red"),
        {"image": "i"},
        replicas="three",
    )
    status, answer = await ask(server, f"{DEPLOYMENT}?fieldManager=me", body, APPLY)
    assert status == 400
    assert answer["message"].splitlines() == [
        "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): errors:",
        '  .spec.template.spec.containers[name="a"].ports: duplicate entries for key [containerPort=80,protocol="TCP"]',
        '  .spec.template.spec.containers[name="a"].colour: field not declared in schema',
        "  .spec.template.spec.containers: element 1: associative list with keys has an element that omits key field "
        '"name" (and doesn\'t have default value)',
        "  .spec.replicas: expected numeric (int or float), got string",
    ]


async def test_conflicts_with_several_managers_are_listed_by_manager(server: ApiServer) -> None:
    await ask(server, f"{DEPLOYMENT}?fieldManager=zoe", deployment(a_container("a")), APPLY)
    await ask(server, f"{DEPLOYMENT}/scale?fieldManager=hpa", {"spec": {"replicas": 5}}, MERGE)
    changed = deployment(a_container("a") | {"image": "j"}, replicas=2)
    status, answer = await ask(server, f"{DEPLOYMENT}?fieldManager=me", changed, APPLY)
    assert status == 409
    assert answer["message"].splitlines() == [
        'Apply failed with 2 conflicts: conflicts with "hpa" with subresource "scale" using apps/v1:',
        "- .spec.replicas",
        'conflicts with "zoe":',
        '- .spec.template.spec.containers[name="a"].image',
    ]


async def test_an_apply_does_not_come_to_own_what_it_may_not_set(server: ApiServer) -> None:
    body = {**deployment(a_container("a")), "status": {"replicas": 7}}
    status, answer = await ask(server, f"{DEPLOYMENT}?fieldManager=me", body, APPLY)
    assert status == 201
    assert list(answer["metadata"]["managedFields"][0]["fieldsV1"]) == ["f:spec"]
    reported = {**body, "spec": {"replicas": 9}}
    _, answer = await ask(server, f"{DEPLOYMENT}/status?fieldManager=controller", reported, APPLY)
    entry = next(entry for entry in answer["metadata"]["managedFields"] if entry["manager"] == "controller")
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:replicas": {}}})
    assert (answer["spec"]["replicas"], answer["status"]["replicas"]) == (1, 7)


async def test_scaling_owns_the_replicas_through_its_subresource(server: ApiServer) -> None:
    await a_deployment(server, a_container("a"))
    await ask(server, f"{DEPLOYMENT}/scale?fieldManager=hpa", {"spec": {"replicas": 5}}, MERGE)
    _, answer = await ask(server, f"{DEPLOYMENT}?fieldManager=me", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    entry = next(entry for entry in answer["metadata"]["managedFields"] if entry["manager"] == "hpa")
    assert (entry["subresource"], entry["fieldsV1"]) == ("scale", {"f:spec": {"f:replicas": {}}})
