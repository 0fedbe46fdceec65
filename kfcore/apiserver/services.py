"""Services: defaults, cluster IPs and the rules that users meet."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver.addresses import FIRST_NODE_PORT, LAST_NODE_PORT, Addresses
from kfcore.apiserver.names import dns_label, label_value, qualified_name
from kfcore.apiserver.pod_rules import port_name
from kfcore.apiserver.status import (
    FieldError,
    bad_request,
    duplicate,
    forbidden_field,
    invalid,
    invalid_value,
    required,
    unsupported,
)

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_RANGE = "must be between 1 and 65535, inclusive"
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
_AFFINITIES = ("ClientIP", "None")
_AFFINITY_SECONDS = 10800
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
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
    if spec["sessionAffinity"] == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {})
        if not (config.get("clientIP") or {}).get("timeoutSeconds"):
            config["clientIP"] = {"timeoutSeconds": _AFFINITY_SECONDS}
    if spec["type"] != "ExternalName":
        _default_families(spec)
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] in _ON_NODES or spec.get("externalIPs"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
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


def validate_service(service: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = service["spec"]
    errors: list[FieldError] = []
    ports = spec.get("ports", [])
    if not ports and spec.get("clusterIP") != "None" and spec["type"] != "ExternalName":
        errors.append(required("spec.ports"))
    names: set[str] = set()
    pairs: set[Any] = set()
    for index, port in enumerate(ports):
        place = f"spec.ports[{index}]"
        name = port.get("name") or ""
        if not name and len(ports) > 1:
            errors.append(required(f"{place}.name"))
        elif name and (why := dns_label(str(name))):
            errors.append(invalid_value(f"{place}.name", name, why))
        elif name in names:
            errors.append(duplicate(f"{place}.name", name))
        names.add(str(name))
        for field in ("port", "targetPort"):
            number = port.get(field, 0)
            if isinstance(number, int) and not isinstance(number, bool) and not 0 < number < 65536:
                errors.append(invalid_value(f"{place}.{field}", number, _RANGE))
            elif field == "port" and not isinstance(number, int):
                raise _mistyped("spec.ports.port", "int32")
        if (node_port := port.get("nodePort")) and not FIRST_NODE_PORT <= node_port <= LAST_NODE_PORT:
            why = (
                f"provided port is not in the valid range. The range of valid ports is {FIRST_NODE_PORT}-"
                f"{LAST_NODE_PORT}"
            )
            errors.append(invalid_value(f"{place}.nodePort", node_port, why))
        elif node_port and spec["type"] not in _ON_NODES:
            errors.append(forbidden_field(f"{place}.nodePort", "may not be used when `type` is 'ClusterIP'"))
        if isinstance(target := port.get("targetPort"), str):
            errors += [invalid_value(f"{place}.targetPort", target, why) for why in port_name(target)]
        pair = (port.get("protocol"), port.get("port"))
        if pair in pairs:
            errors.append(duplicate(place, {"protocol": pair[0], "port": pair[1]}))
        pairs.add(pair)
        if port["protocol"] not in _PROTOCOLS:
            errors.append(unsupported(f"{place}.protocol", port["protocol"], _PROTOCOLS))
    for key, value in (spec.get("selector") or {}).items():
        errors += [invalid_value("spec.selector", key, why) for why in qualified_name(key)]
        errors += [invalid_value("spec.selector", value, why) for why in label_value(value)]
    if spec.get("sessionAffinity", "None") not in _AFFINITIES:
        errors.append(unsupported("spec.sessionAffinity", spec["sessionAffinity"], _AFFINITIES))
    address = spec.get("clusterIP")
    if address and address != "None" and _malformed(address):
        why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        errors.append(invalid_value("spec.clusterIPs[0]", address, why))
    errors += _validate_families(spec)
    if spec["type"] not in _TYPES:
        errors.append(unsupported("spec.type", spec["type"], _TYPES))
    if spec["type"] == "ExternalName" and not spec.get("externalName"):
        errors.append(required("spec.externalName"))
    if (
        previous is not None
        and previous["spec"].get("clusterIP") not in (None, spec.get("clusterIP"))
        and "ExternalName" not in (spec["type"], previous["spec"]["type"])
    ):
        given = spec.get("clusterIP")
        errors.append(invalid_value("spec.clusterIPs[0]", [given] if given else None, "may not change once set"))
    return errors


def _validate_families(spec: Manifest) -> Iterator[FieldError]:
    """There is one family of addresses here, IPv4."""
    if spec["type"] == "ExternalName" or (spec.get("clusterIP") == "None" and not spec.get("selector")):
        return
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in _FAMILIES:
            yield unsupported(f"spec.ipFamilies[{index}]", family, _FAMILIES)
        elif family != "IPv4":
            yield invalid_value(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
    policy = spec.get("ipFamilyPolicy")
    if policy not in _FAMILY_POLICIES:
        yield unsupported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES)
    elif policy == "RequireDualStack":
        yield invalid_value("spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services")


def _malformed(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return True
    return False


def _mistyped(path: str, type_: str) -> Exception:
    return bad_request(
        'Service in version "v1" cannot be handled as a Service: json: cannot unmarshal value into Go struct field '
        f"ServiceSpec.{path} of type {type_}"
    )
