"""Who set which field: what plain writes own, what server-side apply makes of it, and warnings about fields."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

MAPS = "/api/v1/namespaces/default/configmaps"
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(clock=FakeClock())


async def ask(
    server: ApiServer, method: str, path: str, body: Any, type_: str = "application/json", agent: str | None = "me/1.0"
) -> Response:
    path, _, query = path.partition("?")
    parameters = dict(pair.split("=") for pair in query.split("&") if pair)
    headers = {"content-type": type_} | ({} if agent is None else {"user-agent": agent})
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await server.handle(Request(method, path, parameters, headers, text))


def read(answer: Response) -> Any:
    assert isinstance(answer.body, bytes)
    return json.loads(answer.body)


def owned(answer: Response) -> dict[str, Any]:
    entries = read(answer)["metadata"].get("managedFields", [])
    return {entry["manager"]: entry["fieldsV1"] for entry in entries}


def config(**data: str) -> Any:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


async def test_whoever_creates_an_object_owns_what_they_said(server: ApiServer) -> None:
    assert owned(await ask(server, "POST", MAPS, config(x="1"))) == {"me": {"f:data": {".": {}, "f:x": {}}}}


async def test_an_update_takes_over_what_it_changes(server: ApiServer) -> None:
    await ask(server, "POST", MAPS, config(x="1", y="1"))
    changed = await ask(server, "PATCH", f"{MAPS}/a?fieldManager=you", {"data": {"y": "2", "z": "1"}}, MERGE)
    assert owned(changed) == {
        "me": {"f:data": {".": {}, "f:x": {}}},
        "you": {"f:data": {"f:y": {}, "f:z": {}}},
    }
    removed = await ask(server, "PATCH", f"{MAPS}/a", {"data": {"z": None}}, MERGE)
    assert owned(removed)["you"] == {"f:data": {"f:y": {}}}


async def test_an_apply_conflicts_with_what_an_update_owns(server: ApiServer) -> None:
    await ask(server, "POST", MAPS, config(x="1"))
    refused = await ask(server, "PATCH", f"{MAPS}/a?fieldManager=gitops", config(x="2"), APPLY)
    assert refused.status == 409
    assert read(refused)["message"] == 'Apply failed with 1 conflict: conflict with "me" using v1: .data.x'
    forced = await ask(server, "PATCH", f"{MAPS}/a?fieldManager=gitops&force=true", config(x="2"), APPLY)
    assert owned(forced)["gitops"] == {"f:data": {"f:x": {}}}


async def test_the_status_has_owners_of_its_own(server: ApiServer) -> None:
    spec = {"containers": [{"name": "c", "image": "i"}]}
    await ask(server, "POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "p"}, "spec": spec})
    path = "/api/v1/namespaces/default/pods/p/status?fieldManager=kubelet"
    answer = await ask(server, "PATCH", path, {"status": {"phase": "Running"}}, MERGE)
    (entry,) = (entry for entry in read(answer)["metadata"]["managedFields"] if entry["manager"] == "kubelet")
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:phase": {}}})


async def test_a_client_without_a_name_is_unknown_and_one_in_process_owns_nothing(server: ApiServer) -> None:
    assert list(owned(await ask(server, "POST", MAPS, config(x="1"), agent=""))) == ["unknown"]
    named = {**config(x="1"), "metadata": {"name": "b"}}
    assert owned(await ask(server, "POST", MAPS, named, agent=None)) == {}


async def test_an_empty_list_of_managers_clears_them(server: ApiServer) -> None:
    await ask(server, "POST", MAPS, config(x="1"))
    cleared = await ask(server, "PATCH", f"{MAPS}/a", {"metadata": {"managedFields": [{}]}}, MERGE)
    assert "managedFields" not in read(cleared)["metadata"]


TWICE = b'{"metadata":{"name":"a","colour":1},"data":{"x":"1", "x":"2"},"size":1}'
PROBLEMS = ['duplicate field "data.x"', 'unknown field "metadata.colour"', 'unknown field "size"']


async def test_unknown_and_repeated_fields_are_told(server: ApiServer) -> None:
    answer = await ask(server, "POST", MAPS, TWICE)
    assert answer.status == 201
    assert answer.headers["warning"] == ", ".join(f"299 - {json.dumps(problem)}" for problem in PROBLEMS)
    assert "warning" not in (await ask(server, "POST", f"{MAPS}?fieldValidation=Ignore", TWICE)).headers


async def test_strictness_refuses_them(server: ApiServer) -> None:
    answer = await ask(server, "POST", f"{MAPS}?fieldValidation=Strict", TWICE)
    assert answer.status == 400
    assert read(answer)["message"].endswith("strict decoding error: " + ", ".join(PROBLEMS))
    assert (await ask(server, "POST", f"{MAPS}?fieldValidation=Maybe", TWICE)).status == 422
