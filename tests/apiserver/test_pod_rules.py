"""Pods that cannot be, and which fields of them kube-apiserver names; what a pod is made of when it does not say."""

from __future__ import annotations

from typing import Any

import pytest
from conversing import MERGE, NAMESPACE, PODS, STRATEGIC, Conversation, a_pod

from kfcore.api.meta import Manifest
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
HTTP = {"httpGet": {"port": 80}}
SEVERAL = "topologySpreadConstraints"


@pytest.fixture
def ask() -> Conversation:
    return Conversation(ApiServer(clock=FakeClock()))


def container(**fields: Any) -> Manifest:
    return {"name": "c", "image": "i", **fields}


def of(**fields: Any) -> Manifest:
    """A pod's spec with one container, which has these fields."""
    return {"containers": [container(**fields)]}


def volumes(*items: Manifest) -> Manifest:
    return {"volumes": list(items)}


def variable(**source: Any) -> Manifest:
    return of(env=[{"name": "A", "valueFrom": source}])


def port(**fields: Any) -> Manifest:
    return of(ports=[{"containerPort": 1, **fields}])


async def refused_fields(ask: Conversation, method: str, path: str, body: Manifest, type_: str = "") -> set[str]:
    status, answer = await ask(method, path, body, type_ or "application/json")
    assert status == 422, answer
    return {cause["field"] for cause in answer["details"]["causes"]}


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (port(containerPort=0), "containers[0].ports[0].containerPort"),
        (
            port(containerPort=70000, hostPort=-1, protocol="X", name="A_b"),
            "containers[0].ports[0].name containers[0].ports[0].containerPort containers[0].ports[0].hostPort "
            "containers[0].ports[0].protocol",
        ),
        (of(ports=[{"containerPort": 1, "name": "a"}] * 2), "containers[0].ports[1].name"),
        (of(ports=[{"containerPort": 1, "hostPort": 5}] * 2), "containers[0].ports[1].hostPort"),
        ({"hostNetwork": True, **port(hostPort=5)}, "containers[0].ports[0].hostPort"),
        (of(env=[{"name": ""}, {"name": "a=b"}]), "containers[0].env[0].name containers[0].env[1].name"),
        (variable(), "containers[0].env[0].valueFrom"),
        (variable(resourceFieldRef={"resource": "x"}), "containers[0].env[0].valueFrom.resourceFieldRef.resource"),
        (variable(fieldRef={"fieldPath": "metadata.labels"}), "containers[0].env[0].valueFrom.fieldRef.fieldPath"),
        (variable(fieldRef={"fieldPath": "metadata.labels['a b']"}), "containers[0].env[0].valueFrom.fieldRef"),
        (
            variable(secretKeyRef={}),
            "containers[0].env[0].valueFrom.secretKeyRef.name containers[0].env[0].valueFrom.secretKeyRef.key",
        ),
        (of(envFrom=[{}]), "containers[0].envFrom"),
        (of(envFrom=[{"configMapRef": {}}]), "containers[0].envFrom[0].configMapRef.name"),
        (of(volumeMounts=[{}]), "containers[0].volumeMounts[0].name containers[0].volumeMounts[0].mountPath"),
        (
            {**of(volumeMounts=[{"name": "v", "mountPath": "/a", "subPath": "/b"}] * 2), **volumes({"name": "v"})},
            "containers[0].volumeMounts[1].mountPath containers[0].volumeMounts.subPath",
        ),
        (of(livenessProbe={}), "containers[0].livenessProbe"),
        (
            of(livenessProbe={"exec": {}, **HTTP, "successThreshold": 2, "timeoutSeconds": -1}),
            "containers[0].livenessProbe.exec.command containers[0].livenessProbe.httpGet "
            "containers[0].livenessProbe.successThreshold containers[0].livenessProbe.timeoutSeconds",
        ),
        (
            of(readinessProbe={**HTTP, "terminationGracePeriodSeconds": 5}),
            "containers[0].readinessProbe.terminationGracePeriodSeconds",
        ),
        (of(lifecycle={"preStop": {"sleep": {"seconds": 31}}}), "containers[0].lifecycle.preStop.sleep"),
        (of(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}), "containers[0].resources.requests"),
        (of(resources={"requests": {"nvidia.com/gpu": "1"}}), "containers[0].resources.limits"),
        (
            of(resources={"limits": {"nvidia.com/gpu": "0.5"}}),
            "containers[0].resources.limits[nvidia.com/gpu] containers[0].resources.requests[nvidia.com/gpu]",
        ),
        (
            of(imagePullPolicy="X", terminationMessagePolicy="Y"),
            "containers[0].imagePullPolicy containers[0].terminationMessagePolicy",
        ),
        (of(image=" i"), "containers[0].image"),
        (
            of(securityContext={"allowPrivilegeEscalation": False, "privileged": True, "procMount": "X"}),
            "containers[0].securityContext containers[0].securityContext.procMount",
        ),
        (
            of(securityContext={"seccompProfile": {"type": "Localhost"}}),
            "containers[0].securityContext.seccompProfile.localhostProfile",
        ),
        ({"dnsPolicy": "None"}, "dnsConfig"),
        ({"initContainers": [container()]}, "initContainers[0].name"),
        ({"initContainers": [container(name="x", livenessProbe=HTTP)]}, "initContainers[0].livenessProbe"),
        ({"tolerations": [{"operator": "Equal"}]}, "tolerations[0].operator"),
        (
            {"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 0, "preference": {}}]}}},
            f"affinity.nodeAffinity.{PREFERRED}[0].weight",
        ),
        (
            {"affinity": {"podAffinity": {REQUIRED: [{"labelSelector": {"matchExpressions": [{"key": "a"}]}}]}}},
            f"affinity.podAffinity.{REQUIRED}[0].labelSelector.matchExpressions[0].operator "
            f"affinity.podAffinity.{REQUIRED}[0].topologyKey",
        ),
        (
            {SEVERAL: [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 1}] * 2},
            f"{SEVERAL}[0].{{topologyKey, whenUnsatisfiable}} {SEVERAL}[0].minDomains {SEVERAL}[1].minDomains",
        ),
        ({"securityContext": {"supplementalGroups": [-1]}}, "securityContext.supplementalGroups[0]"),
        ({"hostPID": True, "shareProcessNamespace": True}, "securityContext.shareProcessNamespace"),
        ({"hostAliases": [{"ip": "x", "hostnames": ["A_"]}]}, "hostAliases[0].ip hostAliases[0].hostnames[0]"),
        ({"dnsConfig": {"nameservers": ["x"], "options": [{}]}}, "dnsConfig.nameservers[0] dnsConfig.options[0]"),
        ({"schedulingGates": [{"name": "a"}, {"name": "a"}, {"name": "a b"}]}, "schedulingGates[1] schedulingGates[2]"),
        (volumes({"name": "v", "configMap": {"items": [{}]}}),
         "volumes[0].configMap.name volumes[0].configMap.items[0].key volumes[0].configMap.items[0].path"),
        (volumes({"name": "v", "secret": {"secretName": "s", "defaultMode": 1000}}), "volumes[0].secret.defaultMode"),
        (volumes({"name": "v", "hostPath": {"path": "/x", "type": "Foo"}}), "volumes[0].hostPath.type"),
        (volumes({"name": "v", "ephemeral": {}}), "volumes[0].ephemeral.volumeClaimTemplate"),
        (volumes({"name": "v", "downwardAPI": {"items": [{"path": "p"}]}}), "volumes[0].downwardAPI"),
        (volumes({"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}), "volumes[0].hostPath"),
        ({"os": {"name": "mac"}}, "os"),
        ({"resources": {"requests": {"cpu": "1"}}, **of(resources={"requests": {"cpu": "2"}})},
         "resources.requests[cpu]"),
    ],
)  # fmt: skip
async def test_a_pod_that_cannot_be_is_refused_by_the_names_of_its_fields(
    ask: Conversation, spec: Manifest, fields: str
) -> None:
    body = {"metadata": {"name": "p"}, "spec": {"containers": [container()], **spec}}
    expected = {f"spec.{field}" for field in fields.split(" ")}
    if SEVERAL in spec:  # one of its names has a space
        expected = {f"spec.{field}" for field in fields.replace(", ", ",").split(" ")}
        expected = {field.replace(",", ", ") for field in expected}
    assert await refused_fields(ask, "POST", PODS, body) == expected


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"containers": [{"name": "d", "image": "i"}]}, "spec.containers"),
        ({"containers": [{"name": "c", "image": ""}]}, "spec.containers[0].image"),
        ({"schedulingGates": [{"name": "g"}]}, "spec.schedulingGates[0].name"),
        ({"nodeSelector": {"a": "b"}}, "spec"),
    ],
)
async def test_of_a_pod_that_exists_hardly_anything_changes(ask: Conversation, patch: Manifest, field: str) -> None:
    await ask.created(PODS, a_pod())
    assert field in await refused_fields(ask, "PATCH", f"{PODS}/p", {"spec": patch}, STRATEGIC)


async def test_a_gated_pods_nodes_may_become_fewer_but_not_others(ask: Conversation) -> None:
    await ask.created(PODS, a_pod(schedulingGates=[{"name": "a"}], nodeSelector={"a": "b"}))
    status, pod = await ask("PATCH", f"{PODS}/p", {"spec": {"nodeSelector": {"c": "d"}}}, MERGE)
    assert (status, pod["spec"]["nodeSelector"]) == (200, {"a": "b", "c": "d"})
    patch = {"spec": {"nodeSelector": {"a": "x"}}}
    assert await refused_fields(ask, "PATCH", f"{PODS}/p", patch, MERGE) == {"spec.nodeSelector"}


async def test_what_has_ended_for_good_does_not_run_again(ask: Conversation) -> None:
    await ask.created(PODS, a_pod(restartPolicy="Never"))
    ended = {"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]}
    assert (await ask("PATCH", f"{PODS}/p/status", {"status": ended}, MERGE))[0] == 200
    again = {"containerStatuses": [{"name": "c", "state": {"running": {}}}]}
    fields = await refused_fields(ask, "PATCH", f"{PODS}/p/status", {"status": again}, MERGE)
    assert fields == {"status.containerStatuses[0].state"}


async def test_a_pod_keeps_its_quality_of_service(ask: Conversation) -> None:
    await ask.created(PODS, a_pod())
    fields = await refused_fields(ask, "PATCH", f"{PODS}/p/status", {"status": {"qosClass": "Guaranteed"}}, MERGE)
    assert fields == {"status.qosClass"}


# ── what is filled in ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_quantities_are_kept_in_their_canonical_form(ask: Conversation) -> None:
    requests = {"cpu": 0.5, "memory": "1024Mi", "ephemeral-storage": "1.5Gi"}
    pod = await ask.created(PODS, a_pod(requests=requests, limits={"cpu": "1000m", "memory": "2000000Ki"}))
    assert pod["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "1536Mi"},
        "limits": {"cpu": "1", "memory": "2000000Ki"},
    }


async def test_what_is_empty_is_as_good_as_absent_unless_it_means_something(ask: Conversation) -> None:
    empty = {"hostNetwork": False, "nodeSelector": {}, "restartPolicy": "", "tolerations": []}
    told = {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0, "securityContext": {}}
    pod = await ask.created(PODS, a_pod(**empty, **told))
    assert not {"hostNetwork", "nodeSelector"} & pod["spec"].keys()
    assert pod["spec"]["restartPolicy"] == "Always"
    assert {name: pod["spec"][name] for name in told} == told


async def test_a_pods_parts_have_their_defaults(ask: Conversation) -> None:
    made = container(
        env=[{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
        lifecycle={"preStop": HTTP},
        startupProbe={"grpc": {"port": 1}},
    )
    sources = [{"serviceAccountToken": {"path": "t"}}]
    named = [{"name": "p", "projected": {"sources": sources}}, {"name": "i", "image": {"reference": "a:1"}}]
    body = {"metadata": {"name": "p"}, "spec": {"containers": [made], "volumes": named, "serviceAccountName": "s"}}
    spec = (await ask.created(PODS, body))["spec"]
    (given,) = spec["containers"]
    assert given["env"][0]["valueFrom"]["resourceFieldRef"] == {"resource": "limits.cpu", "divisor": "0"}
    assert given["lifecycle"]["preStop"]["httpGet"] == {"port": 80, "path": "/", "scheme": "HTTP"}
    assert given["startupProbe"]["grpc"] == {"port": 1, "service": ""}
    assert spec["volumes"][0]["projected"]["sources"] == [
        {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}
    ]
    assert spec["volumes"][1]["image"] == {"reference": "a:1", "pullPolicy": "IfNotPresent"}


NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"


@pytest.mark.parametrize(
    ("own", "added"),
    [
        ({"key": "mine", "operator": "Exists"}, [NOT_READY, UNREACHABLE]),
        ({"key": NOT_READY, "operator": "Exists", "effect": "NoExecute"}, [UNREACHABLE]),
        ({"key": UNREACHABLE, "operator": "Exists"}, [NOT_READY]),
        ({"key": NOT_READY, "operator": "Exists", "effect": "NoSchedule"}, [NOT_READY, UNREACHABLE]),
        ({"operator": "Exists", "effect": "NoSchedule"}, [NOT_READY, UNREACHABLE]),
        ({"operator": "Exists"}, []),
    ],
)
async def test_a_pod_stays_five_minutes_on_a_failing_node_unless_it_says_how_long(
    ask: Conversation, own: Any, added: list[str]
) -> None:
    first, *others = (await ask.created(PODS, a_pod(tolerations=[own])))["spec"]["tolerations"]
    assert first == own
    assert others == [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300} for key in added
    ]


async def test_limits_are_requests_of_a_pod_but_not_of_a_template(ask: Conversation) -> None:
    limits = {"limits": {"cpu": "1"}}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": of(resources=limits)}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    path = "/apis/apps/v1/namespaces/default/deployments"
    deployment = await ask.created(path, {"metadata": {"name": "d"}, "spec": spec})
    assert deployment["spec"]["template"]["spec"]["containers"][0]["resources"] == limits
    pod = await ask.created(PODS, a_pod(**limits))
    assert pod["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}


async def test_a_pods_runtime_class_is_there_and_says_what_it_costs(ask: Conversation) -> None:
    said = await ask.refusal("POST", PODS, a_pod(runtimeClassName="kata"))
    assert said == '403 pods "p" is forbidden: pod rejected: RuntimeClass "kata" not found'
    runtime = {"metadata": {"name": "kata"}, "handler": "h", "overhead": {"podFixed": {"cpu": "250m"}}}
    await ask.created("/apis/node.k8s.io/v1/runtimeclasses", runtime)
    assert (await ask.created(PODS, a_pod(runtimeClassName="kata")))["spec"]["overhead"] == {"cpu": "250m"}


@pytest.mark.parametrize("spec", [{}, {"runtimeClassName": "runc"}])
async def test_a_pod_costs_nothing_more_without_a_runtime_class_that_says_so(ask: Conversation, spec: Any) -> None:
    await ask.created("/apis/node.k8s.io/v1/runtimeclasses", {"metadata": {"name": "runc"}, "handler": "h"})
    said = await ask.refusal("POST", PODS, a_pod(overhead={"cpu": "1"}, **spec))
    assert said == (
        '403 pods "p" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead'
    )


async def test_whom_a_pod_preempts_is_said_by_its_class_and_checked_in_a_template(ask: Conversation) -> None:
    said = await ask.refusal("POST", PODS, a_pod(preemptionPolicy="Never"))
    assert said == (
        '403 pods "p" is forbidden: the string value of PreemptionPolicy (Never) must not be provided in pod spec; '
        "priority admission controller computed PreemptLowerPriority from the given PriorityClass name"
    )
    template = {"metadata": {"name": "t"}, "template": {"spec": a_pod(preemptionPolicy="X")["spec"]}}
    fields = await refused_fields(ask, "POST", f"{NAMESPACE}/podtemplates", template)
    assert fields == {"template.spec.preemptionPolicy"}


async def test_a_binding_names_its_pod_and_a_node(ask: Conversation) -> None:
    await ask.created(PODS, a_pod())
    fields = await refused_fields(ask, "POST", f"{PODS}/p/binding", {"target": {"kind": "Pod"}})
    assert fields == {"target.kind", "target.name"}
    said = await ask.refusal("POST", f"{PODS}/p/binding", {"metadata": {"name": "q"}, "target": {"name": "n"}})
    assert said == "400 name in URL does not match name in Binding object"
