"""What a service's endpoints are: which pods, under which addresses and ports, ready or not. Makes no request."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec

from kfcore.api.meta import Manifest
from kfcore_local.workloads.kinds import Pod, Service, ServicePort
from kfcore_local.workloads.pods import is_finished, is_ready, is_terminating

Ports = tuple[tuple[str, int, str, str], ...]
"""Name, port, protocol and application protocol of each port: pods that name different ports are told apart by it."""


class Address(msgspec.Struct, frozen=True):
    """One pod as an endpoint of a service."""

    ip: str
    ready: bool
    serving: bool
    terminating: bool
    node_name: str
    hostname: str
    pod: Manifest


def addresses_by_ports(service: Service, pods: Iterable[Pod]) -> dict[Ports, list[Address]]:
    """The endpoints of a service, grouped by the ports that its target ports resolve to."""
    groups: dict[Ports, list[Address]] = {}
    for pod in sorted(pods, key=lambda pod: pod.name):
        if not pod.status.pod_ip or is_finished(pod):
            continue
        serving, terminating = is_ready(pod), is_terminating(pod)
        address = Address(
            ip=pod.status.pod_ip,
            ready=service.spec.publish_not_ready_addresses or (serving and not terminating),
            serving=serving,
            terminating=terminating,
            node_name=pod.spec.node_name,
            hostname=pod.spec.hostname if pod.spec.subdomain == service.name else "",
            pod={"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.metadata.uid},
        )
        groups.setdefault(_ports(service, pod), []).append(address)
    return groups


def slice_endpoints(addresses: Iterable[Address]) -> list[Manifest]:
    """As a discovery.k8s.io/v1 EndpointSlice holds them."""
    endpoints = []
    for address in addresses:
        conditions = {"ready": address.ready, "serving": address.serving, "terminating": address.terminating}
        endpoint: Manifest = {"addresses": [address.ip], "conditions": conditions, "targetRef": address.pod}
        if address.hostname:
            endpoint["hostname"] = address.hostname
        if address.node_name:
            endpoint["nodeName"] = address.node_name
        endpoints.append(endpoint)
    return endpoints


def slice_ports(ports: Ports) -> list[Manifest]:
    """A port without a name is named by the empty string, and so it stays."""
    return [
        {"name": name, "port": port, "protocol": protocol, **({"appProtocol": application} if application else {})}
        for name, port, protocol, application in ports
    ]


def subsets(groups: dict[Ports, list[Address]]) -> list[Manifest]:
    """As a core/v1 Endpoints object holds them; a terminating pod is none of them unless it is published regardless."""
    result = []
    for ports, addresses in sorted(groups.items()):
        subset: Manifest = {}
        shown = [address for address in addresses if address.ready or not address.terminating]
        for field, ready in (("addresses", True), ("notReadyAddresses", False)):
            if listed := [_endpoint_address(address) for address in shown if address.ready is ready]:
                subset[field] = listed
        if subset:
            if ports:
                subset["ports"] = [{k: v for k, v in port.items() if v != ""} for port in slice_ports(ports)]
            result.append(subset)
    return result


def address_type(ports_addresses: Iterable[Address]) -> str:
    """The address family, of the first address."""
    for address in ports_addresses:
        return f"IPv{ipaddress.ip_address(address.ip).version}"
    return "IPv4"


def _endpoint_address(address: Address) -> Manifest:
    entry: Manifest = {"ip": address.ip}
    if address.hostname:
        entry["hostname"] = address.hostname
    if address.node_name:
        entry["nodeName"] = address.node_name
    return {**entry, "targetRef": address.pod}


def _ports(service: Service, pod: Pod) -> Ports:
    ports = ((port, _target_port(port, pod)) for port in service.spec.ports)
    return tuple((port.name, number, port.protocol, port.app_protocol) for port, number in ports if number)


def _target_port(port: ServicePort, pod: Pod) -> int:
    """The pod's port for a service port; 0 when the pod has none of that name."""
    target = port.target_port
    if isinstance(target, int):
        return target or port.port
    if not target:
        return port.port
    if target.isdecimal():
        return int(target)
    for container in pod.spec.containers:
        for candidate in container.ports:
            if candidate.name == target and candidate.protocol == port.protocol:
                return candidate.container_port
    return 0
