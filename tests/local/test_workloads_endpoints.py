"""Endpoints and EndpointSlices of services."""

from __future__ import annotations

from typing import Any

from workload_cluster import LABELS, a_cluster

from kfcore_local.workloads.kinds import Endpoints, EndpointSlice, Pod, Service


def a_service(**spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "labels": {"team": "a"}},
        "spec": {"selector": LABELS, "ports": ports, **spec},
    }


def a_pod(name: str, port: int = 8080, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "one", "ports": [{"name": "web", "containerPort": port}]}
    metadata = {"name": name, "namespace": "default", "labels": LABELS}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


async def ready_addresses(cluster) -> dict[str, bool]:
    found = {}
    for item in await cluster.client.list(EndpointSlice, "default"):
        for endpoint in item.endpoints or ():
            found[endpoint["addresses"][0]] = endpoint["conditions"]["ready"]
    return found


async def test_a_ready_pod_is_an_endpoint_under_the_port_that_it_names():
    async with a_cluster() as cluster:
        await cluster.create(Service, a_service())
        await cluster.create(Pod, a_pod("a"))
        await cluster.play_kubelet("a", ip="127.0.0.5")
        [item] = await cluster.client.list(EndpointSlice, "default")
        assert item.name.startswith("web-")
        assert item.address_type == "IPv4"
        assert item.metadata.labels == {
            "team": "a",
            "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }
        assert item.ports == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        assert await ready_addresses(cluster) == {"127.0.0.5": True}
        [subset] = (await cluster.get(Endpoints, "web"))["subsets"]
        assert [address["ip"] for address in subset["addresses"]] == ["127.0.0.5"]
        assert subset["addresses"][0]["targetRef"]["name"] == "a"
        assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]


async def test_a_pod_that_is_not_ready_is_listed_apart_unless_the_service_publishes_it():
    async with a_cluster() as cluster:
        await cluster.create(Service, a_service())
        await cluster.create(Pod, a_pod("a"))
        await cluster.play_kubelet("a", ready=False, ip="127.0.0.5")
        assert await ready_addresses(cluster) == {"127.0.0.5": False}
        assert "notReadyAddresses" in (await cluster.get(Endpoints, "web"))["subsets"][0]
        await cluster.patch(Service, "web", {"spec": {"publishNotReadyAddresses": True}})
        assert await ready_addresses(cluster) == {"127.0.0.5": True}


async def test_a_service_made_after_its_pods_finds_them_and_loses_the_one_that_ends():
    async with a_cluster() as cluster:
        for name, ip in (("a", "127.0.0.5"), ("b", "127.0.0.6")):
            await cluster.create(Pod, a_pod(name, hostname=name, subdomain="web"))
            await cluster.play_kubelet(name, ip=ip)
        await cluster.create(Service, a_service(clusterIP="None"))
        assert sorted(await ready_addresses(cluster)) == ["127.0.0.5", "127.0.0.6"]
        [item] = await cluster.client.list(EndpointSlice, "default")
        assert [endpoint["hostname"] for endpoint in item.endpoints] == ["a", "b"]
        assert "service.kubernetes.io/headless" in item.metadata.labels
        await cluster.end("a", 0)
        assert list(await ready_addresses(cluster)) == ["127.0.0.6"]
        await cluster.patch(Pod, "b", {"metadata": {"labels": {"app": "other"}}})
        assert await ready_addresses(cluster) == {}


async def test_pods_that_name_different_ports_are_in_slices_of_their_own():
    async with a_cluster() as cluster:
        await cluster.create(Service, a_service())
        for name, port, ip in (("a", 8080, "127.0.0.5"), ("b", 9090, "127.0.0.6")):
            await cluster.create(Pod, a_pod(name, port))
            await cluster.play_kubelet(name, ip=ip)
        slices = await cluster.client.list(EndpointSlice, "default")
        assert sorted(item.ports[0]["port"] for item in slices) == [8080, 9090]
        assert len((await cluster.get(Endpoints, "web"))["subsets"]) == 2


async def test_endpoints_go_with_their_service_and_cost_nothing_while_nothing_changes():
    async with a_cluster() as cluster:
        await cluster.create(Service, a_service())
        await cluster.create(Pod, a_pod("a"))
        await cluster.play_kubelet("a", ip="127.0.0.5")
        assert await cluster.writes_of("endpoints", "web") == []
        await cluster.client.delete(Service, "web", "default")
        await cluster.settle()
        assert await cluster.names(Endpoints) == await cluster.names(EndpointSlice) == []


async def test_a_service_without_a_selector_is_left_to_its_author():
    async with a_cluster() as cluster:
        await cluster.create(Service, a_service(selector=None))
        assert await cluster.names(Endpoints) == []
