"""What kubectl builds by itself and sends as protobuf: every `create`, and what works on what is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubectl_session import Kubectl, Serving, a_pod, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("kubectl-builds")) as running:
        yield running


@pytest.fixture
def kubectl(served: Serving, tmp_path: Path) -> Kubectl:
    return Kubectl(served, tmp_path)


def spec_of(kubectl: Kubectl, target: str) -> dict[str, object]:
    spec: dict[str, object] = json.loads(kubectl("get", target, "-o", "json").out)["spec"]
    return spec


def test_an_ingress(kubectl: Kubectl) -> None:
    kubectl("create", "ingress", "web", "--class=nginx", "--rule=a.example.com/app*=app:8080,tls=cert")
    assert spec_of(kubectl, "ingress/web") == {
        "ingressClassName": "nginx",
        "tls": [{"hosts": ["a.example.com"], "secretName": "cert"}],
        "rules": [
            {
                "host": "a.example.com",
                "http": {
                    "paths": [
                        {
                            "path": "/app",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": "app", "port": {"number": 8080}}},
                        }
                    ]
                },
            }
        ],
    }


def test_an_autoscaler(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "d", "--image=busybox")
    kubectl("autoscale", "deployment", "d", "--min=1", "--max=3", "--cpu-percent=50")
    spec = spec_of(kubectl, "hpa/d")
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 3)
    target = {"type": "Utilization", "averageUtilization": 50}
    assert spec["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


def test_a_token_of_a_service_account_that_the_server_takes(kubectl: Kubectl) -> None:
    kubectl("create", "serviceaccount", "bot")
    token = kubectl("create", "token", "bot", "--duration=1h").out.strip()
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    answer = json.loads(kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review)).out)
    assert answer["status"]["user"]["username"] == f"system:serviceaccount:{kubectl.namespace}:bot"


def test_a_job_from_a_cron_job_keeps_its_whole_template(kubectl: Kubectl) -> None:
    kubectl("create", "cronjob", "nightly", "--image=busybox", "--schedule=0 0 * * *", "--", "true")
    pod = {
        "securityContext": {"runAsUser": 0, "fsGroup": 7},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}],
        "volumes": [
            {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "settings", "configMap": {"name": "settings", "items": [{"key": "a", "path": "b"}]}},
        ],
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"}
                ]
            }
        },
        "containers": [
            {
                "name": "nightly",
                "envFrom": [{"configMapRef": {"name": "settings"}}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 3},
                "securityContext": {"capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True},
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
            }
        ],
    }
    patch = {"spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}}}
    kubectl("patch", "cronjob", "nightly", "-p", json.dumps(patch))
    kubectl("create", "job", "now", "--from=cronjob/nightly")
    wanted = spec_of(kubectl, "cronjob/nightly")["jobTemplate"]["spec"]["template"]["spec"]  # type: ignore[index]
    assert spec_of(kubectl, "job/now")["template"]["spec"] == wanted  # type: ignore[index]


def test_a_role_that_aggregates_and_what_binds_it(kubectl: Kubectl) -> None:
    name = f"all-{kubectl.namespace}"
    kubectl("create", "clusterrole", name, "--aggregation-rule=part-of=all")
    kubectl("create", "rolebinding", "b", f"--clusterrole={name}", "--user=ann", "--group=team", "--serviceaccount=a:b")
    binding = json.loads(kubectl("get", "rolebinding", "b", "-o", "json").out)
    assert [subject["kind"] for subject in binding["subjects"]] == ["User", "Group", "ServiceAccount"]


def test_a_node_is_cordoned_and_tainted(kubectl: Kubectl) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{kubectl.namespace}"}}
    kubectl.apply(node)
    name = node["metadata"]["name"]  # type: ignore[index]
    kubectl("cordon", name)
    kubectl("taint", "node", name, "dedicated=gpu:NoSchedule")
    spec = spec_of(kubectl, f"node/{name}")
    assert spec["unschedulable"] is True
    taints = {taint["key"] for taint in spec["taints"]}  # type: ignore[attr-defined]
    assert "dedicated" in taints
    kubectl("uncordon", name)
    assert "unschedulable" not in spec_of(kubectl, f"node/{name}")


def test_a_copy_of_a_pod_to_debug(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("p"))
    kubectl("debug", "p", "--image=busybox", "--copy-to=copy", "--profile=general", "--", "sleep", "1")
    assert len(spec_of(kubectl, "pod/copy")["containers"]) == 2  # type: ignore[arg-type]


def test_who_is_asking_and_what_a_user_may_do(kubectl: Kubectl) -> None:
    assert "kfcore-admin" in kubectl("auth", "whoami").out
    assert kubectl("auth", "can-i", "create", "pods").out.strip() == "yes"
    assert json.loads(kubectl("get", "--raw", "/version").out)["major"] == "1"


def test_there_are_no_metrics_and_top_says_so(kubectl: Kubectl) -> None:
    assert "Metrics API not available" in kubectl.fails("top", "pods").err
