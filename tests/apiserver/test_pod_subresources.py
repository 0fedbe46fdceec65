"""Ephemeral containers, resizing and eviction: what a pod that exists can be asked for."""

from __future__ import annotations

import pytest
from conversing import MERGE, PODS, STRATEGIC, Conversation, a_pod

from kfcore.api.meta import Manifest
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

EPHEMERAL, RESIZE = f"{PODS}/p/ephemeralcontainers", f"{PODS}/p/resize"


@pytest.fixture
def ask() -> Conversation:
    return Conversation(ApiServer(clock=FakeClock()))


def ephemeral(*containers: Manifest) -> Manifest:
    return {"metadata": {"labels": {"ignored": "yes"}}, "spec": {"ephemeralContainers": list(containers)}}


def resources(requests: Manifest) -> Manifest:
    return {"spec": {"containers": [{"name": "c", "image": "ignored", "resources": {"requests": requests}}]}}


async def test_a_debugging_container_is_added_and_stays_as_it_is(ask: Conversation) -> None:
    await ask.created(PODS, a_pod())
    debugger = {"name": "debug", "image": "busybox", "targetContainerName": "c"}
    _, pod = await ask("PATCH", EPHEMERAL, ephemeral(debugger), STRATEGIC)
    (container,) = pod["spec"]["ephemeralContainers"]
    assert (container["name"], container["imagePullPolicy"]) == ("debug", "Always")
    assert pod["metadata"]["labels"] == {"app": "a"}
    said = await ask.refusal("PATCH", EPHEMERAL, ephemeral({"name": "debug", "image": "other"}), STRATEGIC)
    assert 'existing ephemeral containers "debug" may not be changed' in said
    assert "may not be removed" in await ask.refusal("PATCH", EPHEMERAL, ephemeral(), MERGE)


async def test_ephemeral_containers_have_rules_of_their_own(ask: Conversation) -> None:
    await ask.created(PODS, a_pod())
    probed = {"name": "c", "image": "i", "livenessProbe": {"exec": {"command": ["true"]}}, "targetContainerName": "x"}
    said = await ask.refusal("PATCH", EPHEMERAL, ephemeral(probed), STRATEGIC)
    for problem in ('name: Duplicate value: "c"', "livenessProbe: Forbidden", 'targetContainerName: Not found: "x"'):
        assert problem in said
    with_one = a_pod("q", ephemeralContainers=[{"name": "debug", "image": "i"}])
    assert "cannot be set on create" in await ask.refusal("POST", PODS, with_one)


async def test_a_pod_is_resized_in_processor_and_memory_alone(ask: Conversation) -> None:
    await ask.created(PODS, a_pod(requests={"cpu": "1"}))
    _, pod = await ask("PATCH", RESIZE, resources({"cpu": "2"}), STRATEGIC)
    (container,) = pod["spec"]["containers"]
    assert (container["resources"], container["image"]) == ({"requests": {"cpu": "2"}}, "i")
    said = await ask.refusal("PATCH", RESIZE, resources({"example.com/gpu": "1"}), STRATEGIC)
    assert said.endswith("only cpu and memory resources are mutable]")
    said = await ask.refusal("PATCH", RESIZE, resources({"cpu": None}), STRATEGIC)  # type: ignore[dict-item]
    assert "Pod QOS Class may not change as a result of resizing" in said
    assert "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed" in said


async def a_running_pod(ask: Conversation, name: str, *, ready: bool = True) -> None:
    await ask.created(PODS, a_pod(name))
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    await ask("PATCH", f"{PODS}/{name}/status", {"status": {"phase": "Running", "conditions": [condition]}}, MERGE)


async def a_budget(ask: Conversation, **spec: int | str) -> None:
    body = {"metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": {"app": "a"}}, **spec}}
    await ask.created("/apis/policy/v1/namespaces/default/poddisruptionbudgets", body)


def an_eviction(name: str) -> Manifest:
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}


async def test_an_eviction_that_a_budget_does_not_allow_is_refused(ask: Conversation) -> None:
    await a_running_pod(ask, "one")
    await a_running_pod(ask, "two")
    await a_budget(ask, minAvailable=1)
    assert (await ask("POST", f"{PODS}/one/eviction", an_eviction("one")))[0] == 201
    status, answer = await ask("POST", f"{PODS}/two/eviction", an_eviction("two"))
    assert (status, answer["message"]) == (429, "Cannot evict pod as it would violate the pod's disruption budget.")
    assert answer["details"]["causes"] == [
        {"reason": "DisruptionBudget", "message": "The disruption budget b needs 1 healthy pods and has 1 currently"}
    ]


async def test_a_pod_that_is_not_ready_may_go_when_the_others_suffice(ask: Conversation) -> None:
    await a_running_pod(ask, "one")
    await a_running_pod(ask, "two", ready=False)
    await a_budget(ask, minAvailable=1)
    assert (await ask("POST", f"{PODS}/two/eviction", an_eviction("two")))[0] == 201
    assert (await ask("POST", f"{PODS}/one/eviction", an_eviction("one")))[0] == 429


async def test_a_pod_is_bound_by_name_too(ask: Conversation) -> None:
    await ask.created(PODS, a_pod())
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    assert (await ask("POST", f"{PODS.removesuffix('pods')}bindings", binding))[0] == 201
    assert (await ask("GET", f"{PODS}/p"))[1]["spec"]["nodeName"] == "n"


async def test_a_scale_is_shown_as_a_table(ask: Conversation) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    path = "/apis/apps/v1/namespaces/default/replicasets"
    await ask.created(path, {"metadata": {"name": "r"}, "spec": spec})
    _, table = await ask("GET", f"{path}/r/scale", accept="application/json;as=Table;g=meta.k8s.io;v=v1")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert table["rows"][0]["cells"][:3] == ["r", 3, 0]
