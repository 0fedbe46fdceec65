"""ResourceQuotas, LimitRanges and PriorityClasses, as who creates something in a namespace that has them meets them."""

from __future__ import annotations

import pytest
from conversing import MERGE, NAMESPACE, PODS, Conversation, a_pod

from kfcore.api.meta import Manifest
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

QUOTAS = f"{NAMESPACE}/resourcequotas"


@pytest.fixture
def ask() -> Conversation:
    return Conversation(ApiServer(clock=FakeClock()))


async def a_quota(ask: Conversation, name: str = "q", *, scopes: list[str] | None = None, **hard: str) -> None:
    spec: Manifest = {"hard": {key.replace("__", "/").replace("_", "."): value for key, value in hard.items()}}
    await ask.created(QUOTAS, {"metadata": {"name": name}, "spec": spec | ({"scopes": scopes} if scopes else {})})


async def used(ask: Conversation, name: str = "q") -> Manifest:
    status = (await ask("GET", f"{QUOTAS}/{name}"))[1]["status"]
    assert status["hard"].keys() == status["used"].keys()
    result: Manifest = status["used"]
    return result


async def test_a_quota_counts_what_is_there_and_what_goes(ask: Conversation) -> None:
    await ask.created(PODS, a_pod("before", requests={"cpu": "500m"}))
    await a_quota(ask, pods="3", requests_cpu="2", configmaps="1")
    assert await used(ask) == {"pods": "1", "requests.cpu": "500m", "configmaps": "0"}
    await ask.created(PODS, a_pod("after", requests={"cpu": "1"}))
    assert await used(ask) == {"pods": "2", "requests.cpu": "1500m", "configmaps": "0"}
    await ask("PATCH", f"{PODS}/before/status", {"status": {"phase": "Succeeded"}}, MERGE)
    await ask("DELETE", f"{PODS}/after")
    assert await used(ask) == {"pods": "0", "requests.cpu": "0", "configmaps": "0"}


async def test_what_a_quota_has_no_room_for_is_refused(ask: Conversation) -> None:
    await a_quota(ask, pods="1", requests_memory="1Gi", count__deployments_apps="0")
    said = await ask.refusal("POST", PODS, a_pod(requests={"memory": "2Gi"}))
    assert said == (
        '403 pods "p" is forbidden: exceeded quota: q, requested: requests.memory=2Gi, used: requests.memory=0, '
        "limited: requests.memory=1Gi"
    )
    await ask.created(PODS, a_pod(requests={"memory": "512Mi"}))
    said = await ask.refusal("POST", PODS, a_pod("second", requests={"memory": "1Gi"}))
    assert said == (
        '403 pods "second" is forbidden: exceeded quota: q, requested: pods=1,requests.memory=1Gi, '
        "used: pods=1,requests.memory=512Mi, limited: pods=1,requests.memory=1Gi"
    )


async def test_under_a_quota_every_container_says_what_it_needs(ask: Conversation) -> None:
    await a_quota(ask, limits_cpu="2", memory="1Gi")
    said = await ask.refusal("POST", PODS, a_pod(requests={"cpu": "1"}))
    assert said == '403 pods "p" is forbidden: failed quota: q: must specify limits.cpu for: c; memory for: c'


async def test_a_quota_with_a_scope_is_about_such_pods_alone(ask: Conversation) -> None:
    await a_quota(ask, scopes=["BestEffort"], pods="0")
    await ask.created(PODS, a_pod("burstable", requests={"cpu": "1"}))
    assert "exceeded quota: q" in await ask.refusal("POST", PODS, a_pod("best-effort"))


async def test_a_dry_run_uses_nothing(ask: Conversation) -> None:
    await a_quota(ask, pods="1")
    assert (await ask("POST", f"{PODS}?dryRun=All", a_pod()))[0] == 201
    assert await used(ask) == {"pods": "0"}


async def a_limit_range(ask: Conversation, **limits: Manifest) -> None:
    item = {"type": "Container", **limits}
    await ask.created(f"{NAMESPACE}/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": [item]}})


async def test_a_limit_range_gives_containers_what_they_do_not_ask_for(ask: Conversation) -> None:
    await a_limit_range(ask, max={"cpu": "2"}, default={"memory": "1Gi"}, defaultRequest={"memory": "512Mi"})
    pod = await ask.created(PODS, a_pod(requests={"cpu": "1"}))
    assert pod["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "2", "memory": "1Gi"},
        "requests": {"cpu": "1", "memory": "512Mi"},
    }
    assert pod["metadata"]["annotations"] == {
        "kubernetes.io/limit-ranger": (
            "LimitRanger plugin set: memory request for container c; cpu, memory limit for container c"
        )
    }
    assert pod["status"]["qosClass"] == "Burstable"


async def test_what_is_beyond_a_limit_range_is_refused(ask: Conversation) -> None:
    await a_limit_range(ask, max={"cpu": "2"}, min={"cpu": "100m"})
    said = await ask.refusal("POST", PODS, a_pod(requests={"cpu": "50m"}, limits={"cpu": "3"}))
    assert said == (
        '403 pods "p" is forbidden: [minimum cpu usage per Container is 100m, but request is 50m, '
        "maximum cpu usage per Container is 2, but limit is 3]"
    )


async def test_a_priority_class_is_named_by_a_pod_and_does_not_change(ask: Conversation) -> None:
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    await ask.created(classes, {"metadata": {"name": "high"}, "value": 1000})
    assert (await ask.created(PODS, a_pod(priorityClassName="high")))["spec"]["priority"] == 1000
    said = await ask.refusal("PATCH", f"{classes}/high", {"value": 1}, MERGE)
    assert said.endswith("value: Forbidden: may not be changed in an update.")
    said = await ask.refusal("POST", classes, {"metadata": {"name": "system-mine"}, "value": 1})
    assert "reserved for system use only" in said
