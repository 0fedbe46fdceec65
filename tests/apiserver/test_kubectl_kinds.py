"""kubectl over one object of every built-in kind, and the commands that need several kinds at once."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator

import pytest
from kubectl_session import Kubectl, Serving, a_pod, as_list, serving

from kfcore.api.meta import Manifest

LABELS = {"app": "a"}
POD = {"containers": [{"name": "c", "image": "i"}]}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": POD}
WORKLOAD = {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}
JOB = {"template": {"spec": {**POD, "restartPolicy": "Never"}}}
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "it"}
ROLE = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "it"}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
HOOK = {
    "name": "it.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
    "clientConfig": {"url": "https://example.com"},
}  # fmt: skip
EVERY: dict[str, Manifest] = {
    "v1/ConfigMap": {"data": {"a": "b"}},
    "v1/Endpoints": {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]},
    "v1/Event": {"involvedObject": {"kind": "Pod", "name": "it"}, "reason": "R", "message": "m", "type": "Normal"},
    "v1/LimitRange": {"spec": {"limits": [{"type": "Container", "max": {"cpu": "4"}}]}},
    "v1/Node": {},
    "v1/PersistentVolume": {
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/tmp"}}
    },
    "v1/PersistentVolumeClaim": {"spec": CLAIM},
    "v1/Pod": {"spec": POD},
    "v1/PodTemplate": {"template": TEMPLATE},
    "v1/ReplicationController": {"spec": {"selector": LABELS, "template": TEMPLATE}},
    "v1/ResourceQuota": {"spec": {"hard": {"pods": "100"}}},
    "v1/Secret": {"stringData": {"a": "b"}},
    "v1/Service": {"spec": {"selector": LABELS, "ports": [{"port": 80}]}},
    "v1/ServiceAccount": {},
    "admissionregistration.k8s.io/v1/MutatingWebhookConfiguration": {"webhooks": [HOOK]},
    "admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration": {"webhooks": [HOOK]},
    "apps/v1/ControllerRevision": {"revision": 1},
    "apps/v1/DaemonSet": {"spec": WORKLOAD},
    "apps/v1/Deployment": {"spec": WORKLOAD},
    "apps/v1/ReplicaSet": {"spec": WORKLOAD},
    "apps/v1/StatefulSet": {"spec": {**WORKLOAD, "serviceName": "it"}},
    "autoscaling/v2/HorizontalPodAutoscaler": {"spec": {"maxReplicas": 2, "scaleTargetRef": TARGET}},
    "batch/v1/CronJob": {"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": JOB}}},
    "batch/v1/Job": {"spec": JOB},
    "coordination.k8s.io/v1/Lease": {"spec": {"holderIdentity": "me"}},
    "discovery.k8s.io/v1/EndpointSlice": {"addressType": "IPv4", "endpoints": [], "ports": []},
    "networking.k8s.io/v1/Ingress": {"spec": {"defaultBackend": {"service": {"name": "it", "port": {"number": 80}}}}},
    "networking.k8s.io/v1/IngressClass": {"spec": {"controller": "example.com/c"}},
    "networking.k8s.io/v1/NetworkPolicy": {"spec": {"podSelector": {}}},
    "node.k8s.io/v1/RuntimeClass": {"handler": "runc"},
    "policy/v1/PodDisruptionBudget": {"spec": {"minAvailable": 1, "selector": {"matchLabels": LABELS}}},
    "rbac.authorization.k8s.io/v1/ClusterRole": {"rules": []},
    "rbac.authorization.k8s.io/v1/ClusterRoleBinding": {"roleRef": ROLE, "subjects": [{"kind": "User", "name": "u"}]},
    "rbac.authorization.k8s.io/v1/Role": {"rules": []},
    "rbac.authorization.k8s.io/v1/RoleBinding": {"roleRef": ROLE, "subjects": [{"kind": "User", "name": "u"}]},
    "scheduling.k8s.io/v1/PriorityClass": {"value": 10},
    "storage.k8s.io/v1/CSIDriver": {"spec": {}},
    "storage.k8s.io/v1/StorageClass": {"provisioner": "example.com/p"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("home")) as served:
        yield served


@pytest.fixture(scope="module")
def kubectl(server: Serving) -> Kubectl:
    return Kubectl(server, server.kubeconfig.parent)


def test_every_kind_is_applied_shown_described_labelled_and_deleted(kubectl: Kubectl) -> None:
    def of(name: str) -> Manifest:
        api_version, _, kind = name.rpartition("/")
        body = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "it"}, **EVERY[name]}
        if kind == "Event":
            body["involvedObject"] = {**body["involvedObject"], "namespace": kubectl.namespace}
        return body

    bodies = [of(name) for name in EVERY]
    targets = [f"{body['kind']}/it" for body in bodies]
    versions = ("get", *targets, "-o", "jsonpath={.items[*].metadata.resourceVersion}")
    kubectl.apply(*bodies)
    before = kubectl(*versions).out
    kubectl.apply(*bodies)
    assert kubectl(*versions).out == before, "what is applied again does not change"
    shown = kubectl("get", *targets, "-o", "wide").out
    assert len([line for line in shown.splitlines() if line and not line.startswith(("NAME", "LAST SEEN"))]) == len(
        EVERY
    )
    described = kubectl("describe", *targets).out
    assert len([line for line in described.splitlines() if line.startswith("Name:")]) == len(EVERY)
    assert kubectl("label", *targets, "a=b").out.count("labeled") == len(EVERY)
    forced = kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=as_list(*bodies)).out
    assert forced.count("serverside-applied") == len(EVERY)
    assert kubectl("delete", *targets, "--wait=false").out.count("deleted") == len(EVERY)


def test_auth_reconcile_adds_the_rules_that_are_missing(kubectl: Kubectl) -> None:
    metadata = {"name": "r", "namespace": kubectl.namespace}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": []}
    kubectl.apply(role)
    role["rules"] = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    assert "missing rules added" in kubectl("auth", "reconcile", "-f", "-", stdin=json.dumps(role)).err


def test_drain_obeys_a_disruption_budget(kubectl: Kubectl) -> None:
    kubectl.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "drained"}})
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": True}
    pod = a_pod("guarded", node="drained", app="guarded")
    pod["metadata"]["ownerReferences"] = [owner]
    budget = {"minAvailable": 1, "selector": {"matchLabels": {"app": "guarded"}}}
    set_ = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "r"},
        "spec": {**WORKLOAD, "replicas": 0},
    }
    kubectl.apply(set_)
    owner["uid"] = kubectl("get", "rs", "r", "-o", "jsonpath={.metadata.uid}").out
    kubectl.apply(
        pod, {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": budget}
    )
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    kubectl.set_status("pod/guarded", ready)
    with kubectl.running("drain", "drained", stderr=subprocess.STDOUT) as draining:
        said = draining.line()
        while "Cannot evict pod as it would violate the pod's disruption budget." not in said:
            line = draining.line()
            assert line, said
            said += line
    assert kubectl("get", "pod", "guarded", "-o", "jsonpath={.metadata.deletionTimestamp}").out == ""


def test_wait_waits_for_fields_creation_and_deletion(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("waited"))
    assert (
        "condition met" in kubectl("wait", "pod/waited", "--for=jsonpath={.status.phase}=Pending", "--timeout=240s").out
    )
    assert "condition met" in kubectl("wait", "pod/waited", "--for=create", "--timeout=240s").out
    kubectl("delete", "pod", "waited", "--now", "--wait=false")
    kubectl("delete", "pod", "waited", "--force", "--grace-period=0", "--ignore-not-found")
    kubectl("wait", "pod/waited", "--for=delete", "--timeout=240s")


def test_a_quota_is_told_to_who_runs_into_it(kubectl: Kubectl) -> None:
    kubectl("create", "quota", "none", "--hard=count/configmaps=0")
    refused = kubectl.fails("create", "configmap", "c", "--from-literal=a=b")
    assert 'configmaps "c" is forbidden: exceeded quota: none' in refused.err
    assert "count/configmaps  0     0" in kubectl("describe", "quota", "none").out
    kubectl("delete", "quota", "none")


def test_a_certificate_is_approved(kubectl: Kubectl) -> None:
    request = base64.b64encode(b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n").decode()
    spec = {"request": request, "signerName": "example.com/s", "usages": ["client auth"]}
    api_version = "certificates.k8s.io/v1"
    kubectl.apply(
        {"apiVersion": api_version, "kind": "CertificateSigningRequest", "metadata": {"name": "c"}, "spec": spec}
    )
    assert "approved" in kubectl("certificate", "approve", "c").out
    assert "Approved" in kubectl("get", "csr", "c").out
