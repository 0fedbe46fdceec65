"""Clients that others wrote, against `kfcore local up`: the official one, kubernetes-asyncio, kr8s and lightkube.

Each does what its users do first: read its kubeconfig, create, list, watch, patch, delete, and reach a pod's processes.
A client that is not installed is skipped, and says so.
"""

from __future__ import annotations

import asyncio
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import aclosing, closing
from typing import Any

import pytest
import yaml
from patience import PATIENCE
from up_cluster import Cluster, running_cluster

from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.client.cluster import ClusterClient

POD = untyped(Pod.resource)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("clients")) as made:
        asyncio.run(_start_pods(made))
        yield made


async def _start_pods(cluster: Cluster) -> None:
    async with await ClusterClient.connect(cluster.kubeconfig) as client, asyncio.timeout(PATIENCE):
        for manifest in yaml.safe_load_all(cluster.pods):
            created = await client.create(POD, manifest, "default")
            version = created.metadata.resource_version
            async with aclosing(client.watch(POD, "default", resource_version=version)) as changes:
                await anext(c async for c in changes if _is_ready(c.object.raw))


def _is_ready(pod: Manifest) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def a_config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}}


def test_the_official_client_works_with_objects(cluster: Cluster) -> None:
    kubernetes = pytest.importorskip(
        "kubernetes", reason="the official client is not installed: pip install kubernetes"
    )
    with kubernetes.config.new_client_from_config(str(cluster.kubeconfig)) as api:
        core = kubernetes.client.CoreV1Api(api)
        created = core.create_namespaced_config_map("default", a_config_map("official"))
        assert created.metadata.uid
        watch = kubernetes.watch.Watch()
        changes = watch.stream(
            core.list_namespaced_config_map,
            "default",
            field_selector="metadata.name=official",
            resource_version=created.metadata.resource_version,
            timeout_seconds=120,
        )
        core.patch_namespaced_config_map("official", "default", {"data": {"a": "2"}})
        assert next(iter(changes))["object"].data == {"a": "2"}
        watch.stop()
        core.delete_namespaced_config_map("official", "default")
        with pytest.raises(kubernetes.client.ApiException) as refused:
            core.read_namespaced_config_map("official", "default")
        assert refused.value.status == 404
        assert core.read_namespaced_pod_log("server", "default").startswith("ready\n")
        dynamic = kubernetes.dynamic.DynamicClient(api)
        pods = dynamic.resources.get(api_version="v1", kind="Pod")
        assert {pod.metadata.name for pod in pods.get(namespace="default").items} >= {"server", "reader"}


def test_the_official_client_reaches_processes(cluster: Cluster) -> None:
    kubernetes = pytest.importorskip(
        "kubernetes", reason="the official client is not installed: pip install kubernetes"
    )
    from kubernetes.stream import portforward, stream

    with kubernetes.config.new_client_from_config(str(cluster.kubeconfig)) as api:
        core = kubernetes.client.CoreV1Api(api)
        command = ["sh", "-c", "read line; echo $GREETING $line; echo oops >&2; exit 3"]
        process = stream(
            core.connect_get_namespaced_pod_exec,
            "server",
            "default",
            command=command,
            stdin=True,
            stdout=True,
            stderr=True,
            tty=False,
            _preload_content=False,
        )
        process.write_stdin("you\n")
        process.run_forever(timeout=120)
        assert (process.read_stdout(), process.read_stderr(), process.returncode) == ("hello you\n", "oops\n", 3)
    with kubernetes.config.new_client_from_config(str(cluster.kubeconfig)) as api:
        core = kubernetes.client.CoreV1Api(api)
        forward = portforward(core.connect_get_namespaced_pod_portforward, "server", "default", ports=str(cluster.port))
        with closing(forward.socket(cluster.port)) as connection:
            connection.setblocking(True)
            connection.settimeout(60)
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while data := connection.recv(4096):
                answer += data
            assert answer.startswith(b"HTTP/1.0 200")


async def test_kubernetes_asyncio_works_with_objects_and_processes(cluster: Cluster) -> None:
    from kubernetes_asyncio import client, config, watch
    from kubernetes_asyncio.stream import WsApiClient

    configuration = client.Configuration()
    await config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    async with client.ApiClient(configuration) as api:
        core = client.CoreV1Api(api)
        created = await core.create_namespaced_config_map("default", a_config_map("asyncio"))
        await core.patch_namespaced_config_map("asyncio", "default", {"data": {"a": "2"}})
        changes = watch.Watch().stream(
            core.list_namespaced_config_map,
            "default",
            field_selector="metadata.name=asyncio",
            resource_version=created.metadata.resource_version,
            timeout_seconds=120,
        )
        async with changes:
            async for change in changes:
                assert change["object"].data == {"a": "2"}
                break
        await core.delete_namespaced_config_map("asyncio", "default")
    async with WsApiClient(configuration) as api:
        printed = await client.CoreV1Api(api).connect_get_namespaced_pod_exec(
            "server", "default", command=["sh", "-c", "echo $GREETING"], stdout=True, stderr=True
        )
        assert printed == "hello\n"


async def test_kr8s_works_with_objects_and_processes(cluster: Cluster) -> None:
    kr8s = pytest.importorskip("kr8s", reason="kr8s is not installed: pip install kr8s")
    from kr8s.asyncio.objects import ConfigMap
    from kr8s.asyncio.objects import Pod as Kr8sPod

    api = await kr8s.asyncio.api(kubeconfig=str(cluster.kubeconfig))
    made = await ConfigMap(a_config_map("kr8s"), api=api)
    await made.create()
    await made.patch({"data": {"a": "2"}})
    await made.refresh()
    assert made.data.a == "2"
    assert "kr8s" in [found.name async for found in api.get("configmaps", namespace="default")]
    await made.delete()
    pod = await Kr8sPod.get("server", namespace="default", api=api)
    assert "ready" in [line async for line in pod.logs()]
    done = await pod.exec(["sh", "-c", "echo $GREETING"])
    assert done.stdout == b"hello\n"
    async with pod.portforward(remote_port=cluster.port, local_port="auto") as port:
        answer = await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/", timeout=60)
        assert answer.status == 200
        answer.close()


def test_lightkube_works_with_objects(cluster: Cluster) -> None:
    lightkube = pytest.importorskip("lightkube", reason="lightkube is not installed: pip install lightkube")
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import ConfigMap
    from lightkube.resources.core_v1 import Pod as LightkubePod

    config = lightkube.KubeConfig.from_file(str(cluster.kubeconfig))
    client = lightkube.Client(config=config.get())
    made = client.create(ConfigMap(metadata=ObjectMeta(name="light", namespace="default"), data={"a": "1"}))
    assert made.metadata.uid
    timer = threading.Timer(0.2, client.patch, (ConfigMap, "light", {"data": {"a": "2"}}), {"namespace": "default"})
    timer.start()
    for kind, changed in client.watch(
        ConfigMap,
        namespace="default",
        fields={"metadata.name": "light"},
        resource_version=made.metadata.resourceVersion,
    ):
        assert (kind, changed.data) == ("MODIFIED", {"a": "2"})
        break
    timer.join()
    client.apply(ConfigMap(metadata=ObjectMeta(name="light", namespace="default"), data={"b": "3"}), field_manager="me")
    assert client.get(ConfigMap, "light", namespace="default").data == {"a": "2", "b": "3"}
    client.delete(ConfigMap, "light", namespace="default")
    with pytest.raises(lightkube.ApiError):
        client.get(ConfigMap, "light", namespace="default")
    assert "server" in [pod.metadata.name for pod in client.list(LightkubePod, namespace="default")]
    assert next(iter(client.log("server", namespace="default"))) == "ready\n"
