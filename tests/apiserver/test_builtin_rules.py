"""Built-in kinds: the defaults that the server fills in, and what it refuses, in kube-apiserver's words."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer

MERGE = "application/merge-patch+json"
CONTAINER = {"name": "c", "image": "i:1"}
LABELS = {"app": "a"}
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}


class Client:
    def __init__(self) -> None:
        self._server = ApiServer()

    async def __call__(self, method: str, path: str, body: Any = None, type_: str = "application/json") -> Any:
        text = b"" if body is None else json.dumps(body).encode()
        answer = await self._server.handle(Request(method, path, {}, {"content-type": type_}, text))
        assert isinstance(answer.body, bytes)
        return json.loads(answer.body)

    async def create(self, path: str, spec: Any = None, name: str = "a", **more: Any) -> Any:
        group, _, plural = path.rpartition("/")
        place = f"/apis/{group}" if "/" in group else f"/api/{group}"
        body = {"metadata": {"name": name}, **({} if spec is None else {"spec": spec}), **more}
        return await self("POST", f"{place}/namespaces/default/{plural}", body)


@pytest.fixture
def client() -> Client:
    return Client()


def pod(*containers: Any, **spec: Any) -> Any:
    return {"containers": [{**CONTAINER, **container} for container in containers or ({},)], **spec}


def template(**spec: Any) -> Any:
    return {"metadata": {"labels": LABELS}, "spec": pod(**spec)}


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_job_is_given_its_defaults_and_selects_its_own_pods(client: Client) -> None:
    job = await client.create("batch/v1/jobs", {"template": template(restartPolicy="Never")})
    spec, uid = job["spec"], job["metadata"]["uid"]
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (1, 1, 6)
    assert (spec["completionMode"], spec["suspend"]) == ("NonIndexed", False)
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert spec["template"]["metadata"]["labels"] == {
        **LABELS,
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": "a",
        "controller-uid": uid,
        "job-name": "a",
    }
    assert job["metadata"]["labels"] == LABELS


async def test_a_jobs_pods_do_not_run_forever(client: Client) -> None:
    refused = await client.create("batch/v1/jobs", {"template": template()})
    assert refused["message"] == (
        'Job.batch "a" is invalid: spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'
    )


async def test_of_a_job_only_parallelism_and_limits_may_change(client: Client) -> None:
    await client.create("batch/v1/jobs", {"template": template(restartPolicy="Never")})
    path = "/apis/batch/v1/namespaces/default/jobs/a"
    assert (await client("PATCH", path, {"spec": {"parallelism": 3}}, MERGE))["spec"]["parallelism"] == 3
    refused = await client("PATCH", path, {"spec": {"completions": 3}}, MERGE)
    assert refused["details"]["causes"][0]["field"] == "spec.completions"
    changed = {"spec": {"template": {"spec": {"hostname": "h"}}}}
    refused = await client("PATCH", path, changed, MERGE)
    assert refused["message"].endswith("field is immutable")


@pytest.mark.parametrize(
    ("schedule", "why"),
    [("* * *", "expected exactly 5 fields, found 3: [* * *]"), ("TZ=UTC 0 * * * *", "use timeZone field instead")],
)
async def test_a_cron_jobs_schedule_is_checked(client: Client, schedule: str, why: str) -> None:
    spec = {"schedule": schedule, "jobTemplate": {"spec": {"template": template(restartPolicy="Never")}}}
    assert why in (await client.create("batch/v1/cronjobs", spec))["message"]
    accepted = await client.create("batch/v1/cronjobs", {**spec, "schedule": "*/5 0-3 * * 1,2"})
    assert accepted["spec"]["concurrencyPolicy"] == "Allow"


# ── autoscalers ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_autoscaler_has_two_versions(client: Client) -> None:
    old = await client.create("autoscaling/v1/horizontalpodautoscalers", {"maxReplicas": 3, "scaleTargetRef": TARGET})
    assert old["spec"]["targetCPUUtilizationPercentage"] == 80
    new = await client("GET", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/a")
    target = {"type": "Utilization", "averageUtilization": 80}
    assert new["spec"]["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    memory = {"type": "Resource", "resource": {"name": "memory", "target": target}}
    path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/a"
    await client("PATCH", path, {"spec": {"metrics": [memory]}}, MERGE)
    old = await client("GET", path.replace("v2", "v1"))
    assert json.loads(old["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"]) == [memory]


async def test_a_malformed_annotation_has_no_metrics(client: Client) -> None:
    spec = {"maxReplicas": 3, "scaleTargetRef": TARGET}
    for number, text in enumerate(("{", "1", "[1]", '[{"resource": 1}]')):
        body = {
            "metadata": {"name": f"a{number}", "annotations": {"autoscaling.alpha.kubernetes.io/metrics": text}},
            "spec": spec,
        }
        path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
        assert (await client("POST", path, body))["kind"] == "HorizontalPodAutoscaler"


async def test_an_autoscalers_limits_are_checked(client: Client) -> None:
    spec = {"minReplicas": 4, "maxReplicas": 3, "scaleTargetRef": TARGET}
    refused = await client.create("autoscaling/v2/horizontalpodautoscalers", spec)
    assert "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`" in refused["message"]


# ── pods ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (pod({"name": "C"}), 'spec.containers[0].name: Invalid value: "C": a lowercase RFC 1123 label'),
        (pod({}, {}), 'spec.containers[1].name: Duplicate value: "c"'),
        (pod({"image": ""}), "spec.containers[0].image: Required value"),
        (
            pod({"ports": [{"containerPort": 80, "name": "a-name-that-is-long"}]}),
            'ports[0].name: Invalid value: "a-name-that-is-long": must be no more than 15 characters',
        ),
        (
            pod({"ports": [{"containerPort": 1, "name": "x"}, {"containerPort": 2, "name": "x"}]}),
            'spec.containers[0].ports[1].name: Duplicate value: "x"',
        ),
        (
            pod({"ports": [{"containerPort": 70000}]}),
            "ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (pod({"env": [{"name": "A=B"}]}), "must consist only of printable ASCII characters other than '='"),
        (
            pod({"env": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            "env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
        ),
        (
            pod({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}}),
            'resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1500m',
        ),
        (pod({"livenessProbe": {"periodSeconds": 1}}), "livenessProbe: Required value: must specify a handler type"),
        (pod(restartPolicy="Sometimes"), 'spec.restartPolicy: Unsupported value: "Sometimes"'),
        (pod(dnsPolicy="Mine"), 'spec.dnsPolicy: Unsupported value: "Mine"'),
        (pod(activeDeadlineSeconds=0), "must be between 1 and 2147483647, inclusive"),
        (pod(nodeSelector={"a": "b c"}), 'spec.nodeSelector: Invalid value: "b c"'),
        (pod(tolerations=[{"value": "x"}]), "operator must be Exists when `key` is empty"),
        (
            pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
            "Forbidden: may not specify more than 1 volume type",
        ),
        (pod(volumes=[{"name": "v", "secret": {}}]), "spec.volumes[0].secret.secretName: Required value"),
        (pod({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}), 'volumeMounts[0].name: Not found: "v"'),
        (
            pod(initContainers=[{**CONTAINER, "name": "i", "readinessProbe": {"exec": {"command": ["a"]}}}]),
            "may not be set for init containers without restartPolicy=Always",
        ),
    ],
)  # fmt: skip
async def test_a_pod_that_could_not_run_is_refused(client: Client, spec: Any, message: str) -> None:
    assert message in (await client.create("v1/pods", spec))["message"]


async def test_of_a_pod_hardly_anything_may_change(client: Client) -> None:
    await client.create("v1/pods", pod(activeDeadlineSeconds=10))
    path = "/api/v1/namespaces/default/pods/a"
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "other"}]
    assert "status" in await client("PATCH", path, image, "application/json-patch+json")
    refused = await client("PATCH", path, {"spec": {"restartPolicy": "Never"}}, MERGE)
    assert "pod updates may not change fields other than `spec.containers[*].image`" in refused["message"]
    refused = await client("PATCH", path, {"spec": {"activeDeadlineSeconds": 20}}, MERGE)
    assert "must be less than or equal to previous value" in refused["message"]
    refused = await client("PATCH", path, {"spec": {"tolerations": []}}, MERGE)
    assert "existing toleration can not be modified except its tolerationSeconds" in refused["message"]


# ── configuration, services, networks, volumes ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("plural", "body", "message"),
    [
        ("configmaps", {"data": {"a b": "x"}}, 'data[a b]: Invalid value: "a b": a valid config key must consist of'),
        ("configmaps", {"data": {"a": "x"}, "binaryData": {"a": "eA=="}}, "duplicate of key present in binaryData"),
        ("configmaps", {"data": {"a": "x" * 1048577}}, "Too long: may not be more than 1048576 bytes"),
        ("configmaps", {"data": {"a": "é" * 400000 + "x" * 248577}}, "Too long: may not be more than 1048576 bytes"),
        ("secrets", {"type": "kubernetes.io/tls"}, "data[tls.crt]: Required value"),
        ("secrets", {"data": {"a": "!"}}, "illegal base64 data"),
    ],
)
async def test_configuration_is_checked(client: Client, plural: str, body: Any, message: str) -> None:
    assert message in (await client.create(f"v1/{plural}", **body))["message"]


@pytest.mark.parametrize(
    ("plural", "data"),
    [
        ("configmaps", {"data": {"a": "é" * 400000 + "x" * 248576}}),
        ("configmaps", {"binaryData": {"a": base64.b64encode(b"x" * 1048576).decode()}}),
        ("secrets", {"data": {"a": base64.b64encode(b"x" * 1048576).decode()}}),
    ],
)
async def test_configuration_may_have_a_mebibyte(client: Client, plural: str, data: Any) -> None:
    assert (await client.create(f"v1/{plural}", **data))["metadata"]["uid"]


async def test_immutable_configuration_stays(client: Client) -> None:
    await client.create("v1/configmaps", data={"a": "b"}, immutable=True)
    refused = await client("PATCH", "/api/v1/namespaces/default/configmaps/a", {"data": {"a": "c"}}, MERGE)
    assert "data: Forbidden: field is immutable when `immutable` is set" in refused["message"]


async def test_a_service_keeps_its_addresses_and_gets_those_of_its_new_type(client: Client) -> None:
    service = await client.create("v1/services", {"ports": [{"port": 80}]})
    path, address = "/api/v1/namespaces/default/services/a", service["spec"]["clusterIP"]
    service = await client(
        "PUT", path, {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}], "type": "NodePort"}}
    )
    assert service["spec"]["clusterIP"] == address
    node_port = service["spec"]["ports"][0]["nodePort"]
    assert 30000 <= node_port <= 32767
    service = await client(
        "PUT", path, {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}], "type": "NodePort"}}
    )
    assert service["spec"]["ports"][0]["nodePort"] == node_port
    service = await client("PATCH", path, {"spec": {"type": "ClusterIP"}}, MERGE)
    assert "nodePort" not in service["spec"]["ports"][0]
    refused = await client("PATCH", path, {"spec": {"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9"]}}, MERGE)
    assert "may not change once set" in refused["message"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"ports": [{"port": 80}, {"port": 81}]}, "spec.ports[0].name: Required value"),
        ({"ports": [{"port": 80, "nodePort": 80}], "type": "NodePort"}, "The range of valid ports is 30000-32767"),
        ({"ports": [{"port": 80, "nodePort": 30080}]}, "may not be used when `type` is 'ClusterIP'"),
        ({"ports": [{"port": 0}]}, "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        ({"ports": [{"port": 80}], "type": "Cluster"}, 'spec.type: Unsupported value: "Cluster"'),
        ({"ports": [{"port": 80}], "clusterIP": "here"}, "must be a valid IP address"),
    ],
)
async def test_a_service_is_checked(client: Client, spec: Any, message: str) -> None:
    assert message in (await client.create("v1/services", spec))["message"]


async def test_networks_and_volumes_have_their_defaults(client: Client) -> None:
    policy = await client.create("networking.k8s.io/v1/networkpolicies", {"podSelector": {}, "egress": [{}]})
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    requests = {"requests": {"storage": "1Gi"}}
    claim = await client.create("v1/persistentvolumeclaims", {"accessModes": ["ReadWriteOnce"], "resources": requests})
    assert (claim["spec"]["volumeMode"], claim["status"]) == ("Filesystem", {"phase": "Pending"})
    refused = await client.create("v1/persistentvolumeclaims", {"resources": requests}, name="b")
    assert "spec.accessModes: Required value: at least 1 access mode is required" in refused["message"]
    refused = await client.create("networking.k8s.io/v1/ingresses", {})
    assert "either `defaultBackend` or `rules` must be specified" in refused["message"]


async def test_a_daemon_set_and_claim_templates_have_their_defaults(client: Client) -> None:
    common = {"selector": {"matchLabels": LABELS}, "template": template()}
    daemon_set = await client.create("apps/v1/daemonsets", common)
    assert daemon_set["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    claims = [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]
    stateful_set = await client.create("apps/v1/statefulsets", {**common, "volumeClaimTemplates": claims})
    assert stateful_set["spec"]["volumeClaimTemplates"][0]["status"] == {"phase": "Pending"}
    refused = await client.create(
        "apps/v1/deployments", {**common, "template": template(restartPolicy="Never")}, name="b"
    )
    assert (
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"' in refused["message"]
    )


async def test_a_stateful_sets_pods_may_mount_its_claims_and_nothing_else(client: Client) -> None:
    def stateful_set(mount: str) -> Any:
        container = {"name": "c", "image": "i", "volumeMounts": [{"name": mount, "mountPath": "/data"}]}
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        return {
            "serviceName": "a",
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        }

    assert (await client.create("apps/v1/statefulsets", stateful_set("data")))["kind"] == "StatefulSet"
    refused = await client.create("apps/v1/statefulsets", stateful_set("other"))
    assert 'volumeMounts[0].name: Not found: "other"' in refused["message"]
