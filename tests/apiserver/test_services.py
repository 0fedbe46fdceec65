"""The addresses and ports that services are given, keep, may ask for and give back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conversing import MERGE, NAMESPACE, Conversation

from kfcore.api.meta import Manifest
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

SERVICES = f"{NAMESPACE}/services"


@pytest.fixture
def ask() -> Conversation:
    return Conversation(ApiServer(clock=FakeClock()))


def a_service(name: str, **spec: Any) -> Manifest:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


async def test_an_address_is_one_services_until_it_goes(ask: Conversation) -> None:
    await ask.created(SERVICES, a_service("a", clusterIP="10.96.0.10"))
    assert (await ask.created(SERVICES, a_service("b")))["spec"]["clusterIP"] == "10.96.0.11"
    said = await ask.refusal("POST", SERVICES, a_service("c", clusterIP="10.96.0.10"))
    assert said == (
        '422 Service "c" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: '
        "provided IP is already allocated"
    )
    await ask("DELETE", f"{SERVICES}/a")
    await ask.created(SERVICES, a_service("c", clusterIP="10.96.0.10"))


async def test_a_node_port_is_one_services(ask: Conversation) -> None:
    wanted = [{"port": 80, "nodePort": 30080}]
    await ask.created(SERVICES, a_service("a", type="NodePort", ports=wanted))
    said = await ask.refusal("POST", SERVICES, a_service("b", type="NodePort", ports=wanted))
    assert said.endswith("spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated")
    other = [{"port": 80, "nodePort": 30080, "protocol": "UDP"}]
    await ask.created(SERVICES, a_service("b", type="NodePort", ports=other))


async def test_a_service_that_becomes_another_type_loses_what_only_the_old_one_has(ask: Conversation) -> None:
    body = a_service("a", type="LoadBalancer", externalTrafficPolicy="Local")
    spec = (await ask.created(SERVICES, body))["spec"]
    assert spec["healthCheckNodePort"] != spec["ports"][0]["nodePort"]
    _, changed = await ask("PATCH", f"{SERVICES}/a", {"spec": {"type": "ClusterIP"}}, MERGE)
    for field in ("externalTrafficPolicy", "allocateLoadBalancerNodePorts", "healthCheckNodePort"):
        assert field not in changed["spec"]
    assert changed["spec"]["clusterIP"] == spec["clusterIP"]
    to_name = {"spec": {"type": "ExternalName", "externalName": "example.com"}}
    _, changed = await ask("PATCH", f"{SERVICES}/a", to_name, MERGE)
    assert not {"clusterIP", "clusterIPs", "ipFamilies"} & changed["spec"].keys()


async def test_addresses_of_the_second_family_are_refused(ask: Conversation) -> None:
    said = await ask.refusal("POST", SERVICES, a_service("a", ipFamilyPolicy="RequireDualStack"))
    assert said.endswith("this cluster is not configured for dual-stack services")
    assert "not configured on this cluster" in await ask.refusal("POST", SERVICES, a_service("a", ipFamilies=["IPv6"]))
    await ask.created(SERVICES, a_service("a", ipFamilyPolicy="PreferDualStack"))


async def test_addresses_are_remembered_with_the_data(tmp_path: Path) -> None:
    server = ApiServer(clock=FakeClock(), data_dir=tmp_path)
    first = (await Conversation(server).created(SERVICES, a_service("a")))["spec"]["clusterIP"]
    await server.close()
    server = ApiServer(clock=FakeClock(), data_dir=tmp_path)
    assert (await Conversation(server).created(SERVICES, a_service("b")))["spec"]["clusterIP"] != first
    await server.close()
