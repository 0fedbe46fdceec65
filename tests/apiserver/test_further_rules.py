"""Refusals that users meet less often, each in kube-apiserver's words; and what a change of an object counts as."""

from __future__ import annotations

from typing import Any

import pytest
from conversing import MERGE, NAMESPACE, PODS, Conversation, a_pod

from kfcore.api.meta import Manifest
from kfcore.apiserver.server import ApiServer
from kfcore.apiserver.storage import HISTORY
from kfcore.testing import FakeClock

APPS, BATCH = "/apis/apps/v1/namespaces/default", "/apis/batch/v1/namespaces/default"
CONTAINER = {"name": "c", "image": "i"}


@pytest.fixture
def ask() -> Conversation:
    return Conversation(ApiServer(clock=FakeClock()))


def container(**fields: Any) -> Manifest:
    return {"containers": [{**CONTAINER, **fields}]}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            container(securityContext={"runAsUser": -1}),
            "runAsUser: Invalid value: -1: must be between 0 and 2147483647",
        ),
        (container(lifecycle={"preStop": {}}), "spec.containers[0].lifecycle.preStop: Required value: must specify"),
        (container(volumeDevices=[{"name": "v", "devicePath": "/d"}]), 'volumeDevices[0].name: Not found: "v"'),
        (container(terminationMessagePolicy="Never"), 'supported values: "FallbackToLogsOnError", "File"'),
        (
            container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.hostname"}}}]),
            "error converting fieldPath: field label not supported: spec.hostname",
        ),
        ({"nodeName": "A B"}, 'spec.nodeName: Invalid value: "A B": a lowercase RFC 1123 subdomain'),
        (
            {"nodeName": "n", "schedulingGates": [{"name": "g"}]},
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
        ),
        (
            {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}},
            "nodeSelectorTerms: Required value: must have at least one node selector term",
        ),
        (
            {"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "t", "whenUnsatisfiable": "DoNotSchedule"}]},
            "topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
        ({"volumes": [{"name": "v", "hostPath": {"path": "../up"}}]}, "must not contain '..'"),
        ({"readinessGates": [{"conditionType": "a b"}]}, "spec.readinessGates[0].conditionType: Invalid value"),
    ],
)
async def test_a_pod_that_cannot_be_is_refused(ask: Conversation, spec: Manifest, said: str) -> None:
    assert said in await ask.refusal("POST", PODS, {"metadata": {"name": "p"}, "spec": {**container(), **spec}})


async def test_a_gated_pod_says_that_it_waits_and_gets_no_further_gates(ask: Conversation) -> None:
    pod = await ask.created(PODS, a_pod(schedulingGates=[{"name": "a"}]))
    assert pod["status"]["conditions"][0]["reason"] == "SchedulingGated"
    more = {"spec": {"schedulingGates": [{"name": "a"}, {"name": "b"}]}}
    said = await ask.refusal("PATCH", f"{PODS}/p", more, MERGE)
    assert said.endswith("only deletion is allowed, but found new scheduling gate 'b'")
    assert (await ask("PATCH", f"{PODS}/p", {"spec": {"schedulingGates": []}}, MERGE))[0] == 200


def a_workload(**spec: Any) -> Manifest:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": container()}
    return {"metadata": {"name": "w"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}}


@pytest.mark.parametrize(
    ("path", "spec", "said"),
    [
        ("deployments", {"selector": None}, "spec.selector: Required value, spec.template.metadata.labels"),
        ("deployments", {"selector": {}}, "empty selector is invalid for deployment"),
        ("deployments", {"template": None}, "spec.template.spec.containers: Required value"),
        ("deployments", {"strategy": {"type": "x"}}, 'supported values: "Recreate", "RollingUpdate"'),
        (
            "deployments",
            {"strategy": {"type": "Recreate", "rollingUpdate": {}}},
            "may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            "deployments",
            {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
            "maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            "deployments",
            {"strategy": {"rollingUpdate": {"maxUnavailable": "150%"}}},
            'maxUnavailable: Invalid value: "150%": must not be greater than 100%',
        ),
        ("deployments", {"minReadySeconds": 600}, "must be greater than minReadySeconds"),
        ("statefulsets", {"podManagementPolicy": "x"}, "must be 'OrderedReady' or 'Parallel'"),
        ("statefulsets", {"updateStrategy": {"type": "x"}}, "must be 'RollingUpdate' or 'OnDelete'"),
    ],
)
async def test_a_workload_that_cannot_be_is_refused(ask: Conversation, path: str, spec: Manifest, said: str) -> None:
    assert said in await ask.refusal("POST", f"{APPS}/{path}", a_workload(**spec))


async def test_a_deployments_generation_counts_its_annotations_but_not_its_status(ask: Conversation) -> None:
    await ask.created(f"{APPS}/deployments", a_workload())
    path = f"{APPS}/deployments/w"
    for body, where, generation in (
        ({"metadata": {"labels": {"a": "b"}}}, path, 1),
        ({"metadata": {"annotations": {"a": "b"}}}, path, 2),
        ({"metadata": {"annotations": {"a": "c"}}, "status": {"replicas": 1}}, f"{path}/status", 2),
        ({"spec": {"paused": True}}, path, 3),
    ):
        assert (await ask("PATCH", where, body, MERGE))[1]["metadata"]["generation"] == generation
    said = await ask.refusal("PATCH", f"{path}/status", {"status": {"replicas": -1}}, MERGE)
    assert "status.replicas: Invalid value: -1: must be greater than or equal to 0" in said


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"manualSelector": True}, "spec.selector: Required value"),
        ({"backoffLimitPerIndex": 1}, "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"),
        ({"template": None}, "spec.template.spec.containers: Required value"),
    ],
)
async def test_a_job_that_cannot_be_is_refused(ask: Conversation, spec: Manifest, said: str) -> None:
    template = {"spec": {**container(), "restartPolicy": "Never"}}
    assert said in await ask.refusal(
        "POST", f"{BATCH}/jobs", {"metadata": {"name": "j"}, "spec": {"template": template, **spec}}
    )


async def test_a_cron_job_names_a_time_zone_that_there_is(ask: Conversation) -> None:
    job = {"template": {"spec": {**container(), "restartPolicy": "Never"}}}
    spec = {"schedule": "* * * * *", "timeZone": "Mars/Olympus", "jobTemplate": {"spec": job}}
    said = await ask.refusal("POST", f"{BATCH}/cronjobs", {"metadata": {"name": "c"}, "spec": spec})
    assert said.endswith('spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus')


async def test_a_claim_asks_for_more_room_once_it_has_a_volume(ask: Conversation) -> None:
    claims = f"{NAMESPACE}/persistentvolumeclaims"
    resources = {"requests": {"storage": "1Gi"}}
    await ask.created(
        claims, {"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources}}
    )
    more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    assert "spec is immutable after creation" in await ask.refusal("PATCH", f"{claims}/c", more, MERGE)
    assert (await ask("PATCH", f"{claims}/c", {"spec": {"volumeName": "v"}}, MERGE))[0] == 200
    assert "spec is immutable" in await ask.refusal("PATCH", f"{claims}/c", {"spec": {"volumeName": "w"}}, MERGE)
    status = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
    await ask("PATCH", f"{claims}/c/status", status, MERGE)
    assert (await ask("PATCH", f"{claims}/c", more, MERGE))[0] == 200
    less = {"spec": {"resources": {"requests": {"storage": "1Mi"}}}}
    assert "can not be less than status.capacity" in await ask.refusal("PATCH", f"{claims}/c", less, MERGE)


async def test_a_node_brings_its_status_and_keeps_it(ask: Conversation) -> None:
    await ask.created("/api/v1/nodes", {"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "1"}}})
    _, node = await ask("PATCH", "/api/v1/nodes/n", {"status": {"capacity": {"cpu": "2"}}}, MERGE)
    assert node["status"]["capacity"] == node["status"]["allocatable"] == {"cpu": "1"}
    assert node["status"]["nodeInfo"]["kubeletVersion"] == ""
    taint = {"spec": {"taints": [{"key": "k", "effect": "Sometimes"}]}}
    assert "metadata.taints[0].effect: Unsupported value" in await ask.refusal("PATCH", "/api/v1/nodes/n", taint, MERGE)


async def test_some_namespaces_stay(ask: Conversation) -> None:
    said = await ask.refusal("DELETE", "/api/v1/namespaces/default")
    assert said == '403 namespaces "default" is forbidden: this namespace may not be deleted'


async def test_a_time_that_is_none_and_a_quantity_that_is_none_are_not_decoded(ask: Conversation) -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    said = await ask.refusal("POST", leases, {"metadata": {"name": "l"}, "spec": {"renewTime": "noon"}})
    assert said.startswith('400 Lease in version "v1" cannot be handled as a Lease: parsing time "noon"')
    said = await ask.refusal("POST", PODS, a_pod(requests={"cpu": "much"}))
    assert said.startswith(
        '400 Pod in version "v1" cannot be handled as a Pod: quantities must match the regular expression'
    )


async def test_options_that_contradict_each_other_are_refused(ask: Conversation) -> None:
    path = f"{NAMESPACE}/configmaps"
    for query, said in (
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            'resourceVersionMatch "exact" is forbidden for resourceVersion',
        ),
        ("resourceVersionMatch=Nearly&resourceVersion=1", 'Unsupported value: "Nearly"'),
        ("continue=x&resourceVersion=1", "specifying resource version is not allowed when using continue"),
        ("watch=1&resourceVersionMatch=NotOlderThan", "forbidden for watch unless sendInitialEvents is provided"),
        ("watch=1&sendInitialEvents=true", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        ("sendInitialEvents=true", "sendInitialEvents is forbidden for list"),
    ):
        assert said in await ask.refusal("GET", f"{path}?{query}")
    said = await ask.refusal("DELETE", f"{PODS}/p", {"propagationPolicy": "Orphan", "orphanDependents": True})
    assert "orphanDependents and deletionPropagation cannot be both set" in said
    said = await ask.refusal("POST", f"{path}?dryRun=Some", {"metadata": {"name": "a"}})
    assert said.startswith('422 CreateOptions.meta.k8s.io "" is invalid: dryRun')


async def test_finalizers_of_built_in_kinds_are_somebodys(ask: Conversation) -> None:
    body = {"metadata": {"name": "a", "finalizers": ["mine"]}}
    said = await ask.refusal("POST", f"{NAMESPACE}/configmaps", body)
    assert said.endswith("name is neither a standard finalizer name nor is it fully qualified")


async def test_a_page_of_a_list_that_is_too_old_goes_on_as_it_is_now(ask: Conversation) -> None:
    path = f"{NAMESPACE}/configmaps"
    for name in "abc":
        await ask.created(path, {"metadata": {"name": name}})
    _, page = await ask("GET", f"{path}?limit=1")
    for number in range(HISTORY + 1):
        await ask("PATCH", f"{path}/a", {"data": {"count": str(number)}}, MERGE)
    status, expired = await ask("GET", f"{path}?limit=1&continue={page['metadata']['continue']}")
    assert (status, expired["reason"]) == (410, "Expired")
    _, rest = await ask("GET", f"{path}?limit=5&continue={expired['metadata']['continue']}")
    assert [item["metadata"]["name"] for item in rest["items"]] == ["b", "c"]


async def test_a_put_creates_what_is_not_there_of_some_kinds(ask: Conversation) -> None:
    endpoints, lease = f"{NAMESPACE}/endpoints/e", "/apis/coordination.k8s.io/v1/namespaces/default/leases/l"
    assert (await ask("PUT", endpoints, {"metadata": {"name": "e"}}))[0] == 201
    assert (await ask("PUT", endpoints, {"metadata": {"name": "e"}}))[0] == 200
    assert (await ask("PUT", lease, {"metadata": {"name": "l"}, "spec": {}}))[0] == 201
    assert (await ask("PUT", f"{NAMESPACE}/configmaps/c", {"metadata": {"name": "c"}}))[0] == 404
    for metadata in ({"name": "g"}, "f", None):
        assert (await ask("PUT", f"{NAMESPACE}/endpoints/f", {"metadata": metadata}))[0] == 400
