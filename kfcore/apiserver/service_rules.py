"""The rules of services: what each type has, and what of it stays."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.addresses import FIRST_NODE_PORT, LAST_NODE_PORT
from kfcore.apiserver.label_rules import validate_labels
from kfcore.apiserver.names import dns_label, dns_subdomain, qualified_name
from kfcore.apiserver.paths import address, ordinary
from kfcore.apiserver.ports import PROTOCOLS, RANGE, is_port, number_or_name
from kfcore.apiserver.status import (
    FieldError,
    bad_request,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
    unsupported,
)

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_ON_NODES = ("LoadBalancer", "NodePort")
_AFFINITIES = ("ClientIP", "None")
_LONGEST_AFFINITY = 86400
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_TRAFFIC = ("Cluster", "Local")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_IP_MODES = ("Proxy", "VIP")
_ONLY_BALANCED = "may only be used when `type` is 'LoadBalancer'"
_SETTLED = "may not change once set"


def validate_service(service: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec, errors = service["spec"], []
    if previous is not None:
        errors += [*_validate_update(spec, previous["spec"]), *_validate_status(service, previous)]
    if not spec.get("ports") and spec.get("clusterIP") != "None" and spec["type"] != "ExternalName":
        errors.append(required("spec.ports"))
    errors += [
        *_validate_type(spec),
        *_validate_ports(spec),
        *validate_labels(spec.get("selector") or {}, "spec.selector"),
        *_validate_affinity(spec),
        *_validate_addresses(spec),
        *_validate_families(spec),
        *_validate_traffic(spec),
    ]
    return errors


def _headless(spec: Manifest) -> bool:
    return bool(spec.get("clusterIP") == "None")


def _validate_type(spec: Manifest) -> Iterator[FieldError]:
    kind = spec["type"]
    if kind not in _TYPES:
        yield unsupported("spec.type", kind, _TYPES)
    elif kind in _ON_NODES and _headless(spec):
        yield invalid_value("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    elif kind == "ExternalName":
        for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if spec.get(field):
                yield forbidden_field(f"spec.{field}", "may not be set for ExternalName services")
        name = (spec.get("externalName") or "").removesuffix(".")
        if not name:
            yield required("spec.externalName")
        elif why := dns_subdomain(name):
            yield invalid_value("spec.externalName", name, why)


def _validate_ports(spec: Manifest) -> Iterator[FieldError]:
    ports = spec.get("ports") or ()
    names: set[str] = set()
    pairs: set[Any] = set()
    on_nodes: set[Any] = set()
    for index, port in enumerate(ports):
        place, name = f"spec.ports[{index}]", str(port.get("name") or "")
        if not name and len(ports) > 1:
            yield required(f"{place}.name")
        elif name:
            if why := dns_label(name):
                yield invalid_value(f"{place}.name", name, why)
            if name in names:
                yield duplicate(f"{place}.name", name)
        names.add(name)
        yield from _validate_port(port, place)
        if (protocol := port["protocol"]) not in PROTOCOLS:
            yield unsupported(f"{place}.protocol", protocol, PROTOCOLS)
        if node_port := port.get("nodePort"):
            yield from _validate_node_port(spec, node_port, place)
            if (protocol, node_port) in on_nodes:
                yield duplicate(f"{place}.nodePort", node_port)
            on_nodes.add((protocol, node_port))
        if (pair := (protocol, port.get("port"))) in pairs:
            yield duplicate(place, {"protocol": pair[0], "port": pair[1]})
        pairs.add(pair)


def _validate_port(port: Manifest, place: str) -> Iterator[FieldError]:
    number = port.get("port", 0)
    if not isinstance(number, int):
        raise bad_request(
            'Service in version "v1" cannot be handled as a Service: json: cannot unmarshal value into Go struct '
            "field ServiceSpec.spec.ports.port of type int32"
        )
    if not is_port(number):
        yield invalid_value(f"{place}.port", number, RANGE)
    yield from number_or_name(port.get("targetPort"), f"{place}.targetPort")
    if (protocol := port.get("appProtocol")) is not None:
        for why in qualified_name(protocol):
            yield invalid_value(f"{place}.appProtocol", protocol, why)


def _validate_node_port(spec: Manifest, number: int, place: str) -> Iterator[FieldError]:
    if spec["type"] == "ClusterIP":
        yield forbidden_field(f"{place}.nodePort", "may not be used when `type` is 'ClusterIP'")
    elif not FIRST_NODE_PORT <= number <= LAST_NODE_PORT:
        within = f"{FIRST_NODE_PORT}-{LAST_NODE_PORT}"
        why = f"provided port is not in the valid range. The range of valid ports is {within}"
        yield invalid_value(f"{place}.nodePort", number, why)


def _validate_affinity(spec: Manifest) -> Iterator[FieldError]:
    affinity = spec["sessionAffinity"]
    if affinity not in _AFFINITIES:
        yield unsupported("spec.sessionAffinity", affinity, _AFFINITIES)
    elif affinity == "ClientIP":
        seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]
        if not 0 < seconds <= _LONGEST_AFFINITY:
            place = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
            yield invalid_value(place, seconds, f"must be greater than 0 and less than {_LONGEST_AFFINITY}")


def _validate_addresses(spec: Manifest) -> Iterator[FieldError]:
    cluster, listed = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if spec["type"] != "ExternalName":
        if cluster and listed and listed[0] != cluster:
            yield invalid_value("spec.clusterIPs", listed, "first value must match `clusterIP`")
        elif listed and not cluster:
            yield invalid_value("spec.clusterIPs", listed, "must be empty when `clusterIP` is not specified")
        for index, text in enumerate(listed):
            if text != "None":
                yield from address(text, f"spec.clusterIPs[{index}]")
            elif len(listed) > 1:
                yield invalid_value("spec.clusterIPs", listed, "'None' must be the first and only value")
    for index, text in enumerate(spec.get("externalIPs") or ()):
        place = f"spec.externalIPs[{index}]"
        problems = list(address(text, place))
        yield from problems
        if not problems:
            yield from ordinary(text, place)


def _validate_families(spec: Manifest) -> Iterator[FieldError]:
    """There is one family of addresses here, IPv4."""
    if spec["type"] == "ExternalName":
        return
    families, policy = spec.get("ipFamilies") or (), spec.get("ipFamilyPolicy")
    anywhere = _headless(spec) and not spec.get("selector")
    for index, family in enumerate(families):
        if family not in _FAMILIES:
            yield unsupported(f"spec.ipFamilies[{index}]", family, _FAMILIES)
        elif family in families[:index]:
            yield duplicate(f"spec.ipFamilies[{index}]", family)
        elif family != "IPv4" and not anywhere:
            yield invalid_value(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
    if policy not in _FAMILY_POLICIES:
        yield unsupported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES)
    elif policy == "RequireDualStack" and not anywhere:
        yield invalid_value("spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services")


def _validate_traffic(spec: Manifest) -> Iterator[FieldError]:
    balanced = spec["type"] == "LoadBalancer"
    if ranges := spec.get("loadBalancerSourceRanges"):
        if not balanced:
            yield forbidden_field("spec.LoadBalancerSourceRanges", _ONLY_BALANCED)
        for index, text in enumerate(ranges):
            yield from _validate_range(text.strip(), f"spec.LoadBalancerSourceRanges[{index}]")
    if spec.get("allocateLoadBalancerNodePorts") is not None and not balanced:
        yield forbidden_field("spec.allocateLoadBalancerNodePorts", _ONLY_BALANCED)
    if (name := spec.get("loadBalancerClass")) is not None:
        if not balanced:
            yield forbidden_field("spec.loadBalancerClass", _ONLY_BALANCED)
        for why in qualified_name(name) if balanced else ():
            yield invalid_value("spec.loadBalancerClass", name, why)
    outer = spec.get("externalTrafficPolicy")
    reachable = spec["type"] in _ON_NODES or bool(spec.get("externalIPs"))
    if outer is not None and not reachable:
        why = "may only be set for externally-accessible services"
        yield invalid_value("spec.externalTrafficPolicy", outer, why)
    elif outer is not None and outer not in _TRAFFIC:
        yield unsupported("spec.externalTrafficPolicy", outer, _TRAFFIC)
    checked = spec.get("healthCheckNodePort")
    if checked and not (balanced and outer == "Local"):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid_value("spec.healthCheckNodePort", checked, why)
    if (inner := spec.get("internalTrafficPolicy")) is not None and inner not in _TRAFFIC:
        yield unsupported("spec.internalTrafficPolicy", inner, _TRAFFIC)
    if (how := spec.get("trafficDistribution")) is not None and how not in _DISTRIBUTIONS:
        yield unsupported("spec.trafficDistribution", how, _DISTRIBUTIONS)


def _validate_range(text: str, place: str) -> Iterator[FieldError]:
    try:
        if "/" not in text:
            raise ValueError
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        yield invalid_value(place, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")


# ── updates ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _validate_update(spec: Manifest, before: Manifest) -> Iterator[FieldError]:
    if "ExternalName" not in (spec["type"], before["type"]):
        now, then = spec.get("clusterIP"), before.get("clusterIP")
        if then is not None and now != then and not (_headless(spec) and _headless(before)):
            yield invalid_value("spec.clusterIPs[0]", [now] if now else None, _SETTLED)
        families, held = spec.get("ipFamilies") or [], before.get("ipFamilies") or []
        settled = not _headless(spec) and not _headless(before)
        if settled and families and held and families[0] != held[0]:
            yield invalid_value("spec.ipFamilies[0]", families, _SETTLED)
    if spec["type"] == before["type"] == "LoadBalancer":
        name = spec.get("loadBalancerClass")
        if name != before.get("loadBalancerClass"):
            yield invalid_value("spec.loadBalancerClass", name, _SETTLED)
        port = spec.get("healthCheckNodePort")
        local = spec.get("externalTrafficPolicy") == before.get("externalTrafficPolicy") == "Local"
        if local and port != before.get("healthCheckNodePort"):
            yield forbidden_field("spec.healthCheckNodePort", "field is immutable")


def _validate_status(service: Manifest, previous: Manifest) -> Iterator[FieldError]:
    status = service.get("status") or {}
    if status == previous.get("status"):
        return
    place, entries = "status.loadBalancer.ingress", (status.get("loadBalancer") or {}).get("ingress") or ()
    if entries and service["spec"]["type"] != "LoadBalancer":
        yield forbidden_field(place, "may only be used when `spec.type` is 'LoadBalancer'")
        return
    for index, entry in enumerate(entries):
        ip, mode, host = entry.get("ip"), entry.get("ipMode"), entry.get("hostname")
        if ip:
            yield from address(ip, f"{place}[{index}].ip")
        if mode is not None and not ip:
            yield forbidden_field(f"{place}[{index}].ipMode", "may not be specified when `ip` is not set")
        elif mode is not None and mode not in _IP_MODES:
            yield unsupported(f"{place}[{index}].ipMode", mode, _IP_MODES)
        if host and (why := dns_subdomain(host)):
            yield invalid_value(f"{place}[{index}].hostname", host, why)
