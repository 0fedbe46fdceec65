"""Bodies that are small and ask for much, or that look like numbers and are none: refused, and the server goes on."""

from __future__ import annotations

from typing import Any

import pytest
from conversing import APPLY, JSON_PATCH, NAMESPACE, Conversation

from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

MAPS = f"{NAMESPACE}/configmaps"
A = f"{MAPS}/a"


@pytest.fixture
async def ask() -> Conversation:
    ask = Conversation(ApiServer(clock=FakeClock()))
    await ask.created(MAPS, {"metadata": {"name": "a", "finalizers": ["x/1", "x/2"]}, "data": {"x": "1"}})
    return ask


def patch(op: str, path: str, value: Any = "x/3") -> list[dict[str, Any]]:
    return [{"op": op, "path": path, "value": value}]


@pytest.mark.parametrize("op", ["add", "remove", "replace"])
@pytest.mark.parametrize("index", ["²", "１", "--1", "-", "1.0", "", " 1", "9" * 30, "-4"])
async def test_an_index_of_a_json_patch_that_is_none_is_refused(ask: Conversation, op: str, index: str) -> None:
    if (op, index) == ("add", "-"):
        return  # which is behind the last
    refusal = await ask.refusal("PATCH", A, patch(op, f"/metadata/finalizers/{index}"), JSON_PATCH)
    assert refusal == "422 the server rejected our request due to an error in our request"


@pytest.mark.parametrize(
    ("op", "index", "left"),
    [
        ("add", "-", ["x/1", "x/2", "x/3"]),
        ("add", "2", ["x/1", "x/2", "x/3"]),
        ("add", "-1", ["x/1", "x/2", "x/3"]),
        ("add", "0", ["x/3", "x/1", "x/2"]),
        ("add", "-3", ["x/3", "x/1", "x/2"]),
        ("replace", "-1", ["x/1", "x/3"]),
        ("remove", "-2", ["x/2"]),
    ],
)
async def test_an_index_of_a_json_patch_counts_from_either_end(
    ask: Conversation, op: str, index: str, left: list[str]
) -> None:
    _, answer = await ask("PATCH", A, patch(op, f"/metadata/finalizers/{index}"), JSON_PATCH)
    assert answer["metadata"]["finalizers"] == left


async def test_a_json_patch_may_copy_but_not_more_and_more(ask: Conversation) -> None:
    _, answer = await ask("PATCH", A, [{"op": "copy", "from": "/data", "path": "/metadata/labels"}], JSON_PATCH)
    assert answer["metadata"]["labels"] == {"x": "1"}
    doubling = [{"op": "copy", "from": "/data", "path": f"/data/{number}"} for number in range(64)]
    refusal = await ask.refusal("PATCH", A, doubling, JSON_PATCH)
    assert refusal == "422 the server rejected our request due to an error in our request"


def laughing(levels: int, each: int) -> bytes:
    """A document in which every level names the one before so often."""
    lines = ["a0: &a0 [ha]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * each)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (laughing(9, 9), "document contains excessive aliasing"),
        (b"a: &a {b: *a}", "maximum recursion depth exceeded"),
        (b"\n".join([b"a0: &a0 {x: y}"] + [
            f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}".encode() for n in range(1, 9)
        ]), "document contains excessive aliasing"),
    ],
)  # fmt: skip
async def test_a_yaml_document_of_mostly_aliases_is_refused(ask: Conversation, body: bytes, why: str) -> None:
    refusal = await ask.refusal("PATCH", f"{A}?fieldManager=m", body, APPLY)
    assert refusal.startswith("400 error decoding YAML: error converting YAML to JSON: yaml: ")
    assert why in refusal


async def test_a_yaml_document_may_have_aliases(ask: Conversation) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: &same {app: x}\n  annotations: *same\n"
    _, answer = await ask("PATCH", f"{A}?fieldManager=m", body, APPLY)
    assert answer["metadata"]["labels"] == answer["metadata"]["annotations"] == {"app": "x"}


@pytest.mark.parametrize("schedule", ["² * * * *", "*/² * * * *", "１ * * * *", "1-² * * * *"])
async def test_digits_of_other_scripts_are_no_numbers_of_a_schedule(ask: Conversation, schedule: str) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    spec = {"schedule": schedule, "jobTemplate": {"spec": {"template": {"spec": pod}}}}
    path = "/apis/batch/v1/namespaces/default/cronjobs"
    refusal = await ask.refusal("POST", path, {"metadata": {"name": "c"}, "spec": spec})
    assert "failed to parse int from" in refusal
