"""What the kubelet does for pods, where they have namespaces of their own: the paths and addresses are the pod's."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator

import pytest
from isolated import Pods, isolated_cluster, needs_namespaces
from one_machine import FOREVER, terminated

from kfcore.api.meta import Manifest

pytestmark = needs_namespaces

IN_CLUSTER = """
import json, os, ssl, urllib.request
where = "/var/run/secrets/kubernetes.io/serviceaccount/"
host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
namespace, token = (open(where + name).read() for name in ("namespace", "token"))
body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
for server in (f"{host}:{port}", "kubernetes.default.svc"):
    request = urllib.request.Request(
        f"https://{server}/apis/authentication.k8s.io/v1/selfsubjectreviews", json.dumps(body).encode(),
        {"Authorization": "Bearer " + token, "Content-Type": "application/json"},
    )
    answer = urllib.request.urlopen(request, context=ssl.create_default_context(cafile=where + "ca.crt"), timeout=60)
    print(namespace, json.load(answer)["status"]["userInfo"]["username"])
"""
SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""


@pytest.fixture
async def pods() -> AsyncIterator[Pods]:
    async with isolated_cluster() as pods:
        yield pods


def ready(pod: Manifest) -> bool:
    return bool(pod.get("status", {}).get("containerStatuses", [{}])[0].get("ready"))


async def test_a_program_in_a_pod_finds_the_api_and_is_its_service_account(pods: Pods) -> None:
    await pods.create("pod", sys.executable, "-c", IN_CLUSTER)
    await pods.until("pod", lambda pod: pod.get("status", {}).get("phase") == "Succeeded")
    assert await pods.log("pod") == "default system:serviceaccount:default:default\n" * 2


async def test_the_token_is_left_out_where_nobody_wants_it(pods: Pods) -> None:
    script = "ls /var/run/secrets/kubernetes.io 2>/dev/null; env | grep KUBERNETES_ || true"
    await pods.create("pod", "sh", "-c", script, automountServiceAccountToken=False)
    await pods.until("pod", lambda pod: pod.get("status", {}).get("phase") == "Succeeded")
    assert "serviceaccount" not in await pods.log("pod")


async def test_the_last_words_are_read_from_the_path_in_the_container(pods: Pods) -> None:
    script = "p=/dev/termin; echo -n enough >> ${p}ation-log; exit 3"
    await pods.create("pod", "sh", "-c", script)
    pod = await pods.until("pod", lambda pod: pod.get("status", {}).get("phase") == "Failed")
    assert terminated(pod)["message"] == "enough"


async def test_probes_reach_a_pod_at_its_own_address(pods: Pods) -> None:
    probes = {
        "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1, "timeoutSeconds": 60},
        "livenessProbe": {"tcpSocket": {"port": 8080}, "initialDelaySeconds": 2, "failureThreshold": 100},
    }
    for name in ("one", "two"):
        await pods.create(name, sys.executable, "-c", SERVER, container=probes)
    for name in ("one", "two"):
        assert await pods.until(name, ready)


async def test_probes_and_hooks_run_where_the_container_runs(pods: Pods) -> None:
    container = {
        "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "hostname > /hooked"]}}},
        "readinessProbe": {
            "exec": {"command": ["grep", "-q", "pod", "/hooked"]},
            "periodSeconds": 1,
            "timeoutSeconds": 60,
        },
    }
    await pods.create("pod", "sh", "-c", FOREVER, container=container)
    assert await pods.until("pod", ready)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a container as another user")
async def test_another_user_has_the_files_of_the_kubelet_too(pods: Pods) -> None:
    script = (
        "id -u; test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo token; "
        "echo -n bye > /dev/termination-log; touch /data/mine && echo written"
    )
    await pods.create(
        "pod",
        *("sh", "-c", script),
        container={"volumeMounts": [{"name": "data", "mountPath": "/data"}], "workingDir": "/"},
        volumes=[{"name": "data", "emptyDir": {}}],
        securityContext={"runAsUser": 65534},
    )
    pod = await pods.until("pod", lambda pod: pod.get("status", {}).get("phase") in ("Succeeded", "Failed"))
    assert (await pods.log("pod")).split() == ["65534", "token", "written"]
    assert terminated(pod)["message"] == "bye"
