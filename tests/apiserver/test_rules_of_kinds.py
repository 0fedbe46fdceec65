"""Objects of each kind that cannot be, and which fields kube-apiserver names; what an object has that does not say."""

from __future__ import annotations

from typing import Any

import pytest
from conversing import MERGE, NAMESPACE, Conversation

from kfcore.api.meta import Manifest
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

APPS, BATCH = "/apis/apps/v1/namespaces/default", "/apis/batch/v1/namespaces/default"
NETWORK, STORAGE = "/apis/networking.k8s.io/v1", "/apis/storage.k8s.io/v1"
AUTOSCALERS = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
INGRESSES, POLICIES = (f"{NETWORK}/namespaces/default/{plural}" for plural in ("ingresses", "networkpolicies"))
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
CLAIMS, VOLUMES, SERVICES = f"{NAMESPACE}/persistentvolumeclaims", "/api/v1/persistentvolumes", f"{NAMESPACE}/services"
SELECTOR = {"matchLabels": {"a": "b"}}
CONTAINERS = {"containers": [{"name": "c", "image": "i"}]}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": CONTAINERS}
ONCE = {"spec": {**CONTAINERS, "restartPolicy": "Never"}}
VOLUME = {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
BACKEND = {"service": {"name": "s", "port": {"number": 80}}}
TARGET = {"kind": "Deployment", "name": "x"}
PORT = [{"port": 80}]


@pytest.fixture
def ask() -> Conversation:
    return Conversation(ApiServer(clock=FakeClock()))


def workload(**spec: Any) -> Manifest:
    return {"spec": {"selector": SELECTOR, "template": TEMPLATE, **spec}}


def job(**spec: Any) -> Manifest:
    return {"spec": {"template": ONCE, **spec}}


def path_of(**path: Any) -> Manifest:
    full = {"path": "/", "pathType": "Prefix", "backend": BACKEND, **path}
    return {"spec": {"rules": [{"http": {"paths": [full]}}]}}


def service(**spec: Any) -> Manifest:
    return {"spec": {"ports": PORT, **spec}}


PATH = "spec.rules[0].http.paths[0]"
MODIFIED = "deprecated.daemonset.template.generation"


@pytest.mark.parametrize(
    ("where", "body", "fields"),
    [
        (f"{APPS}/deployments", {}, "selector template.metadata.labels template.spec.containers"),
        (f"{APPS}/deployments", workload(selector={"matchExpressions": [{"key": "a", "operator": "X"}]}),
         "selector.matchExpressions[0].operator"),
        (f"{APPS}/daemonsets", workload(updateStrategy={"rollingUpdate": {"maxSurge": 1}}),
         "updateStrategy.rollingUpdate.maxSurge"),
        (f"{APPS}/daemonsets", workload(selector=None), "template.metadata.labels"),
        (f"{APPS}/statefulsets", workload(ordinals={"start": -1}), "ordinals.start"),
        (f"{APPS}/statefulsets", workload(persistentVolumeClaimRetentionPolicy={"whenDeleted": "X"}),
         "persistentVolumeClaimRetentionPolicy.whenDeleted"),
        (f"{NAMESPACE}/replicationcontrollers", workload(selector={"x": "y"}), "template.metadata.labels"),
        (f"{BATCH}/jobs", job(template=TEMPLATE), "template.spec.restartPolicy"),
        (f"{BATCH}/jobs", job(selector=SELECTOR), "selector template.metadata.labels"),
        (f"{BATCH}/jobs", job(manualSelector=True), "selector template.metadata.labels"),
        (f"{BATCH}/jobs", job(maxFailedIndexes=1), "maxFailedIndexes backoffLimitPerIndex"),
        (f"{BATCH}/jobs", job(podFailurePolicy={"rules": [{"action": "X"}]}),
         "podFailurePolicy.rules[0] podFailurePolicy.rules[0].action"),
        (f"{BATCH}/jobs", job(completionMode="Indexed", successPolicy={"rules": [{}]}), "successPolicy.rules[0]"),
        (f"{BATCH}/cronjobs", {"spec": {"schedule": "60 * * * *", "jobTemplate": {}}},
         "schedule jobTemplate.spec.template.spec.containers jobTemplate.spec.template.spec.restartPolicy"),
        (AUTOSCALERS, {"spec": {"maxReplicas": 3, "scaleTargetRef": TARGET, "metrics": [{"type": "Resource"}]}},
         "metrics[0].resource"),
        (AUTOSCALERS, {"spec": {"maxReplicas": 3, "scaleTargetRef": TARGET, "behavior": {"scaleUp": {"policies": [
            {"type": "X", "value": 0, "periodSeconds": 1}]}}}},
         "behavior.scaleUp.policies[0].type behavior.scaleUp.policies[0].value"),
        (BUDGETS, {"spec": {"unhealthyPodEvictionPolicy": "X"}}, "unhealthyPodEvictionPolicy"),
        (INGRESSES, path_of(backend={}), f"{PATH}.backend"),
        (INGRESSES, path_of(backend={"service": {"port": {}}}), f"{PATH}.backend {PATH}.backend.service.name"),
        (INGRESSES, path_of(path="/a//b"), f"{PATH}.path"),
        (INGRESSES, {"spec": {"defaultBackend": BACKEND, "rules": [{"host": "1.2.3.4"}]}}, "rules[0].host"),
        (f"{NETWORK}/ingressclasses", {"spec": {"controller": "a"}}, "controller"),
        (POLICIES, {"spec": {"podSelector": {}, "ingress": [{"from": [{}], "ports": [{"endPort": 4}]}]}},
         "ingress[0].from[0] ingress[0].ports[0].port"),
        (POLICIES, {"spec": {"policyTypes": ["X"]}}, "policyTypes[0]"),
        (VOLUMES, {"spec": {}}, "accessModes capacity ."),
        (VOLUMES, {"spec": {**VOLUME, "persistentVolumeReclaimPolicy": "X"}}, "persistentVolumeReclaimPolicy"),
        (CLAIMS, {"spec": {"accessModes": ["X"], "resources": {"requests": {"storage": "-1"}}}},
         "accessModes resources[storage]"),
        (f"{STORAGE}/storageclasses", {"provisioner": "p", "volumeBindingMode": "X"}, ".volumeBindingMode"),
        (SLICES, {"addressType": "IPv4", "endpoints": [{"addresses": ["x"]}], "ports": [{"port": 0}]},
         ".endpoints[0].addresses[0] .ports[0].port"),
        (f"{NAMESPACE}/endpoints", {"subsets": [{"addresses": [{"ip": "169.254.0.1"}]}]},
         ".subsets[0].addresses[0].ip"),
        (f"{NAMESPACE}/limitranges", {"spec": {"limits": [{"type": "Pod", "default": {"cpu": "1"}}]}},
         "limits[0].default"),
        (f"{NAMESPACE}/limitranges", {"spec": {"limits": [{"type": "PersistentVolumeClaim"}]}}, "limits[0].limits"),
        (f"{NAMESPACE}/resourcequotas", {"spec": {"hard": {"foo": "1", "pods": "1.5"}, "scopes": ["X"]}},
         "hard[foo] hard[pods] scopes"),
        ("/apis/node.k8s.io/v1/runtimeclasses", {"handler": ""}, ".handler"),
        ("/apis/certificates.k8s.io/v1/certificatesigningrequests", {"spec": {}}, "request usages signerName"),
        (f"{ADMISSION}/validatingwebhookconfigurations", {"webhooks": [{"name": "a"}]},
         ".webhooks[0].name .webhooks[0].admissionReviewVersions .webhooks[0].sideEffects .webhooks[0].clientConfig"),
        (SERVICES, service(type="NodePort", clusterIP="None"), "clusterIPs[0]"),
        (SERVICES, {"spec": {"type": "ExternalName", "externalName": "a", "clusterIP": "10.96.0.9"}}, "clusterIPs"),
        (SERVICES, service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 0}}),
         "sessionAffinityConfig.clientIP.timeoutSeconds"),
        (SERVICES, service(externalIPs=["127.0.0.1"]), "externalIPs[0]"),
        (SERVICES, service(externalTrafficPolicy="Local"), "externalTrafficPolicy"),
        (SERVICES, service(internalTrafficPolicy="X", trafficDistribution="Y"),
         "internalTrafficPolicy trafficDistribution"),
        (SERVICES, service(loadBalancerClass="a/b", allocateLoadBalancerNodePorts=True),
         "loadBalancerClass allocateLoadBalancerNodePorts"),
        (SERVICES, {"spec": {"type": "NodePort", "ports": [{"name": n, "port": p, "nodePort": 30080} for n, p in
                                                           (("a", 1), ("b", 2))]}}, "ports[1].nodePort"),
    ],
)  # fmt: skip
async def test_an_object_that_cannot_be_is_refused_by_the_names_of_its_fields(
    ask: Conversation, where: str, body: Manifest, fields: str
) -> None:
    status, answer = await ask("POST", where, {"metadata": {"name": "x"}, **body})
    assert status == 422, answer
    # Those of the spec are named without it, others begin with a dot; a dot alone is the spec itself.
    expected = {
        "spec" if field == "." else field[1:] if field.startswith(".") else f"spec.{field.removeprefix('spec.')}"
        for field in fields.split()
    }
    assert {cause["field"] for cause in answer["details"]["causes"]} == expected


@pytest.mark.parametrize(
    ("where", "body", "patch", "field"),
    [
        (VOLUMES, {"spec": VOLUME}, {"spec": {"hostPath": {"path": "/y"}}}, "spec.persistentvolumesource"),
        (f"{STORAGE}/storageclasses", {"provisioner": "p"}, {"provisioner": "q"}, "provisioner"),
        (f"{NETWORK}/ingressclasses", {"spec": {"controller": "a/b"}}, {"spec": {"controller": "a/c"}},
         "spec.controller"),
        ("/apis/node.k8s.io/v1/runtimeclasses", {"handler": "h"}, {"handler": "g"}, "handler"),
        (f"{BATCH}/jobs", job(), {"spec": {"completions": 3}}, "spec.completions"),
        (f"{APPS}/statefulsets", workload(), {"spec": {"podManagementPolicy": "Parallel"}}, "spec"),
        (SERVICES, service(type="LoadBalancer"), {"spec": {"loadBalancerClass": "a/b"}}, "spec.loadBalancerClass"),
        ("/api/v1/nodes", {"spec": {"providerID": "a"}}, {"spec": {"providerID": "b"}}, "spec.providerID"),
    ],
)  # fmt: skip
async def test_what_is_fixed_does_not_change(
    ask: Conversation, where: str, body: Manifest, patch: Manifest, field: str
) -> None:
    await ask.created(where, {"metadata": {"name": "x"}, **body})
    status, answer = await ask("PATCH", f"{where}/x", patch, MERGE)
    assert status == 422, answer
    assert [cause["field"] for cause in answer["details"]["causes"]] == [field]


async def test_a_reported_count_is_one_of_the_replicas_that_there_are(ask: Conversation) -> None:
    await ask.created(f"{APPS}/statefulsets", {"metadata": {"name": "x"}, **workload()})
    said = await ask.refusal(
        "PATCH", f"{APPS}/statefulsets/x/status", {"status": {"replicas": 1, "readyReplicas": 2}}, MERGE
    )
    assert said.endswith("status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas")


async def test_there_is_one_priority_class_for_everybody(ask: Conversation) -> None:
    where = "/apis/scheduling.k8s.io/v1/priorityclasses"
    await ask.created(where, {"metadata": {"name": "a"}, "value": 1, "globalDefault": True})
    said = await ask.refusal("POST", where, {"metadata": {"name": "b"}, "value": 2, "globalDefault": True})
    assert said.endswith("PriorityClass a is already marked as default. Only one default can exist")


# ── what is filled in ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_job_is_labelled_as_its_pods_are(ask: Conversation) -> None:
    made = await ask.created(f"{BATCH}/jobs", {"metadata": {"name": "x"}, **job()})
    assert made["metadata"]["labels"] == made["spec"]["template"]["metadata"]["labels"]
    assert made["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "x"


async def test_a_job_with_a_limit_for_each_index_has_none_for_all(ask: Conversation) -> None:
    policy = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}
    spec = job(completionMode="Indexed", completions=2, backoffLimitPerIndex=1, podFailurePolicy=policy)
    made = await ask.created(f"{BATCH}/jobs", {"metadata": {"name": "x"}, **spec})
    assert made["spec"]["backoffLimit"] == 2147483647
    assert made["spec"]["podFailurePolicy"]["rules"][0]["onPodConditions"] == [
        {"type": "DisruptionTarget", "status": "True"}
    ]


async def test_a_daemon_set_counts_the_changes_of_its_template(ask: Conversation) -> None:
    path = f"{APPS}/daemonsets"
    made = await ask.created(path, {"metadata": {"name": "x"}, **workload()})
    assert made["metadata"]["annotations"] == {MODIFIED: "1"}
    for patch, count in (
        ({"metadata": {"annotations": {"a": "b", MODIFIED: "7"}}}, "1"),
        ({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}, "2"),
    ):
        _, made = await ask("PATCH", f"{path}/x", patch, MERGE)
        assert made["metadata"]["annotations"][MODIFIED] == count


async def test_a_replication_controller_takes_the_labels_of_its_template(ask: Conversation) -> None:
    body = {"metadata": {"name": "x"}, "spec": {"template": TEMPLATE}}
    made = await ask.created(f"{NAMESPACE}/replicationcontrollers", body)
    assert made["spec"]["selector"] == made["metadata"]["labels"] == {"a": "b"}


@pytest.mark.parametrize(
    ("where", "body", "filled"),
    [
        (f"{NETWORK}/ingressclasses", {"spec": {"controller": "a/b", "parameters": {"kind": "k", "name": "n"}}},
         {"spec": {"controller": "a/b", "parameters": {"kind": "k", "name": "n", "scope": "Cluster"}}}),
        (f"{STORAGE}/csidrivers", {}, {"spec": {
            "attachRequired": True, "podInfoOnMount": False, "storageCapacity": False, "requiresRepublish": False,
            "seLinuxMount": False, "volumeLifecycleModes": ["Persistent"],
            "fsGroupPolicy": "ReadWriteOnceWithFSType"}}),
        (f"{NAMESPACE}/resourcequotas", {}, {"spec": {}, "status": {}}),
        ("/apis/coordination.k8s.io/v1/namespaces/default/leases", {}, {"spec": {}}),
        (VOLUMES, {"spec": VOLUME},
         {"status": {"phase": "Pending", "lastPhaseTransitionTime": "2024-01-01T00:00:00Z"}}),
        (SLICES, {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]},
         {"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {}}], "ports": None}),
        (f"{ADMISSION}/mutatingwebhookconfigurations", {"webhooks": [{
            "name": "a.b.c", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": "https://a.b/c"}}]},
         {"webhooks": [{
             "name": "a.b.c", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
             "clientConfig": {"url": "https://a.b/c"}, "timeoutSeconds": 10, "reinvocationPolicy": "Never",
             "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}}]}),
    ],
)  # fmt: skip
async def test_a_kind_has_its_defaults(ask: Conversation, where: str, body: Manifest, filled: Manifest) -> None:
    made = await ask.created(where, {"metadata": {"name": "x"}, **body})
    assert {name: made[name] for name in filled} == filled
