"""Services: defaults, cluster IPs and node ports. Rules: `service_rules.py`."""

from __future__ import annotations

from collections.abc import Iterator

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver.addresses import Addresses
from kfcore.apiserver.status import (
    FieldError,
    bad_request,
    invalid,
    invalid_value,
)

_ON_NODES = ("LoadBalancer", "NodePort")
_OF_TYPES = (
    (
        ("ClusterIP", "LoadBalancer", "NodePort"),
        ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"),
    ),
    (_ON_NODES, ("externalTrafficPolicy",)),
    (("LoadBalancer",), ("allocateLoadBalancerNodePorts", "healthCheckNodePort", "loadBalancerClass")),
)
"""What only services of some types have."""
_AFFINITY_SECONDS = 10800
_SERVICE = Resource("", "v1", "Service", "services")


def default_service(service: Manifest) -> None:
    spec = service.setdefault("spec", {})
    if not isinstance(spec, dict):
        raise _mistyped("spec", "v1.ServiceSpec")
    ports = spec.get("ports")
    if ports is not None and (not isinstance(ports, list) or not all(isinstance(port, dict) for port in ports)):
        raise _mistyped("spec.ports", "[]v1.ServicePort")
    if not isinstance(spec.get("selector") or {}, dict):
        raise _mistyped("spec.selector", "map[string]string")
    if ports is not None and not ports:
        del spec["ports"]
    for port in ports or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    if spec["sessionAffinity"] == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {})
        if (config.get("clientIP") or {}).get("timeoutSeconds") is None:
            config["clientIP"] = {"timeoutSeconds": _AFFINITY_SECONDS}
    if spec["type"] != "ExternalName":
        _default_families(spec)
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] in _ON_NODES or spec.get("externalIPs"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for entry in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            if entry.get("ip"):
                entry.setdefault("ipMode", "VIP")
    if spec.get("clusterIP"):
        spec.setdefault("clusterIPs", [spec["clusterIP"]])


def _default_families(spec: Manifest) -> None:
    families = spec.setdefault("ipFamilies", ["IPv4"])
    if spec.get("clusterIP") == "None" and not spec.get("selector"):
        # Whoever names the endpoints themselves may have them of both families, on any cluster.
        if len(families) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
            spec["ipFamilies"] = [*families, "IPv6" if families == ["IPv4"] else "IPv4"]
        spec.setdefault("ipFamilyPolicy", "RequireDualStack")
    else:
        spec.setdefault("ipFamilyPolicy", "SingleStack")


def admit_service(addresses: Addresses, service: Manifest) -> None:
    """Give a new service its addresses and its first status."""
    service["status"] = {"loadBalancer": {}}
    _allocate(addresses, service)


def keep_addresses(addresses: Addresses, service: Manifest, previous: Manifest) -> None:
    """An update keeps the addresses that it does not speak of, and a service that becomes another type loses what only
    the old one has, and gets its own.
    """
    spec, before = service["spec"], previous["spec"]
    for types, fields in _OF_TYPES:
        if before["type"] in types and spec["type"] not in types:
            for field in fields:
                if spec.get(field) == before.get(field):
                    spec.pop(field, None)
    if spec["type"] == "ExternalName":
        return
    if before["type"] != "ExternalName":
        for field in ("clusterIP", "clusterIPs"):
            if not spec.get(field) and before.get(field):
                spec[field] = before[field]
        if spec.get("clusterIP") != before.get("clusterIP") and spec.get("clusterIPs") == before.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]
    known = {(port.get("port"), port.get("protocol")): port.get("nodePort") for port in before.get("ports") or ()}
    for port in spec.get("ports") or ():
        node_port = known.get((port.get("port"), port.get("protocol")))
        if spec["type"] not in _ON_NODES:
            if node_port is not None and port.get("nodePort") == node_port:
                del port["nodePort"]
        elif node_port and not port.get("nodePort"):
            port["nodePort"] = node_port
    _allocate(addresses, service)


def _allocate(addresses: Addresses, service: Manifest) -> None:
    """Give a service what it has not got. Raises Invalid for what another one has."""
    spec = service["spec"]
    if errors := list(_taken(addresses, spec, service["metadata"]["uid"])):
        raise invalid(_SERVICE, service["metadata"].get("name", ""), errors)
    if spec["type"] == "ExternalName":
        return
    if not spec.get("clusterIP") and spec.get("ports"):
        spec["clusterIP"] = addresses.ip()
    if spec.get("clusterIP"):
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
    if spec["type"] not in _ON_NODES or spec.get("allocateLoadBalancerNodePorts") is False:
        return
    used = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
    for port in spec.get("ports") or ():
        if not port.get("nodePort"):
            port["nodePort"] = addresses.port(used)
            used.add(port["nodePort"])
    if spec["type"] == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
        spec["healthCheckNodePort"] = spec.get("healthCheckNodePort") or addresses.port(used)


def _taken(addresses: Addresses, spec: Manifest, uid: str) -> Iterator[FieldError]:
    ips = spec.get("clusterIPs") or [spec.get("clusterIP")]
    for address in ips:
        if address and address != "None" and addresses.ip_is_others(address, uid):
            why = f"failed to allocate IP {address}: provided IP is already allocated"
            yield invalid_value("spec.clusterIPs", ips, why)
    for index, port in enumerate(spec.get("ports") or ()):
        number = port.get("nodePort")
        if number and addresses.port_is_others(number, port.get("protocol", "TCP"), uid):
            yield invalid_value(f"spec.ports[{index}].nodePort", number, "provided port is already allocated")


def _mistyped(path: str, type_: str) -> Exception:
    return bad_request(
        'Service in version "v1" cannot be handled as a Service: json: cannot unmarshal value into Go struct field '
        f"ServiceSpec.{path} of type {type_}"
    )
