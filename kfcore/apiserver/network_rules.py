"""The rules of Ingresses, IngressClasses and NetworkPolicies."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from kfcore.api.meta import Manifest
from kfcore.apiserver.label_rules import validate_selector
from kfcore.apiserver.names import dns_label_1035, dns_subdomain
from kfcore.apiserver.ports import PROTOCOLS, RANGE, is_port, number_or_name, port_name
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, required, unsupported
from kfcore.apiserver.workloads import part

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_POLICY_TYPES = ("Egress", "Ingress")
_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NOT_AT_THE_END = ("/..", "/.")


def validate_ingress(ingress: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = part(ingress, "spec", "Ingress")
    errors: list[FieldError] = []
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        errors.append(invalid_value("spec", None, "either `defaultBackend` or `rules` must be specified"))
    if (backend := spec.get("defaultBackend")) is not None:
        errors += _validate_backend(backend, "spec.defaultBackend")
    for number, rule in enumerate(spec.get("rules") or ()):
        place = f"spec.rules[{number}]"
        errors += _validate_host(rule.get("host") or "", f"{place}.host")
        if (http := rule.get("http")) is None:
            continue
        if not http.get("paths"):
            errors.append(required(f"{place}.http.paths"))
        for index, path in enumerate(http.get("paths") or ()):
            errors += _validate_path(path, f"{place}.http.paths[{index}]")
    for number, tls in enumerate(spec.get("tls") or ()):
        for index, host in enumerate(tls.get("hosts") or ()):
            if why := dns_subdomain(host.removeprefix("*.")):
                errors.append(invalid_value(f"spec.tls[{number}].hosts[{index}]", host, why))
        if (name := tls.get("secretName")) and (why := dns_subdomain(name)):
            errors.append(invalid_value(f"spec.tls[{number}].secretName", name, why))
    if (name := spec.get("ingressClassName")) is not None and (why := dns_subdomain(name)):
        errors.append(invalid_value("spec.ingressClassName", name, why))
    return errors


def _validate_host(host: str, place: str) -> Iterator[FieldError]:
    if not host:
        return
    try:
        ipaddress.ip_address(host)
        yield invalid_value(place, host, "must be a DNS name, not an IP address")
    except ValueError:
        pass
    if why := dns_subdomain(host.removeprefix("*.")):
        yield invalid_value(place, host, why)


def _validate_path(path: Manifest, place: str) -> list[FieldError]:
    errors: list[FieldError] = []
    kind, text = path.get("pathType"), path.get("path") or ""
    if kind is None:
        errors.append(required(f"{place}.pathType", "pathType must be specified"))
    elif kind not in _PATH_TYPES:
        errors.append(unsupported(f"{place}.pathType", kind, _PATH_TYPES))
    elif (text or kind != "ImplementationSpecific") and not text.startswith("/"):
        errors.append(invalid_value(f"{place}.path", text, "must be an absolute path"))
    elif kind != "ImplementationSpecific":
        errors += [
            invalid_value(f"{place}.path", text, f"must not contain '{part}'") for part in _NOT_IN_PATHS if part in text
        ]
        errors += [
            invalid_value(f"{place}.path", text, f"cannot end with '{end}'")
            for end in _NOT_AT_THE_END
            if text.endswith(end)
        ]
    return [*errors, *_validate_backend(path.get("backend") or {}, f"{place}.backend")]


def _validate_backend(backend: Manifest, place: str) -> Iterator[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        yield invalid_value(place, "", "cannot set both resource and service backends")
    elif resource is not None:
        for field in ("kind", "name"):
            if not resource.get(field):
                yield required(f"{place}.resource.{field}")
    elif service is not None:
        yield from _validate_service(service, place)
    else:
        yield invalid_value(place, "", "resource or service backend is required")


def _validate_service(service: Manifest, place: str) -> Iterator[FieldError]:
    name, port = service.get("name") or "", service.get("port") or {}
    if not name:
        yield required(f"{place}.service.name")
    elif why := dns_label_1035(name):
        yield invalid_value(f"{place}.service.name", name, why)
    port_named, number = port.get("name") or "", port.get("number") or 0
    if port_named and number:
        yield invalid_value(place, "", "cannot set both port name & port number")
    elif port_named:
        yield from (invalid_value(f"{place}.service.port.name", port_named, why) for why in port_name(port_named))
    elif not number:
        yield required(place, "port name or number is required")
    elif not is_port(number):
        yield invalid_value(f"{place}.service.port.number", number, RANGE)


def validate_ingress_class(ingress_class: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = ingress_class["spec"]
    errors: list[FieldError] = []
    if previous is not None and spec.get("controller") != previous["spec"].get("controller"):
        errors.append(invalid_value("spec.controller", spec.get("controller"), "field is immutable"))
    controller = spec.get("controller") or ""
    if not controller:
        errors.append(required("spec.controller"))
    elif "/" not in controller:
        why = 'must be a domain-prefixed path (such as "acme.io/foo")'
        errors.append(invalid_value("spec.controller", controller, why))
    parameters = spec.get("parameters")
    if parameters is None:
        return errors
    place, scope = "spec.parameters", parameters.get("scope")
    errors += [required(f"{place}.{field}") for field in ("kind", "name") if not parameters.get(field)]
    if scope not in ("Cluster", "Namespace"):
        errors.append(unsupported(f"{place}.scope", scope, ("Cluster", "Namespace")))
    namespace = parameters.get("namespace")
    if scope == "Namespace" and not namespace:
        errors.append(required(f"{place}.namespace", '`parameters.scope` is set to "Namespace"'))
    if scope == "Cluster" and namespace is not None:
        errors.append(forbidden_field(f"{place}.namespace", '`parameters.scope` is set to "Cluster"'))
    return errors


# ── network policies ─────────────────────────────────────────────────────────────────────────────────────────────────


def validate_network_policy(policy: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = policy["spec"]
    errors = [*validate_selector(spec.get("podSelector"), "spec.podSelector")]
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            place = f"spec.{direction}[{index}]"
            for number, port in enumerate(rule.get("ports") or ()):
                errors += _validate_policy_port(port, f"{place}.ports[{number}]")
            for number, peer in enumerate(rule.get(peers) or ()):
                errors += _validate_peer(peer, f"{place}.{peers}[{number}]")
    kinds = spec.get("policyTypes") or []
    if len(kinds) > len(_POLICY_TYPES):
        errors.append(invalid_value("spec.policyTypes", kinds, "may not specify more than two policyTypes"))
        return errors
    errors += [
        unsupported(f"spec.policyTypes[{index}]", kind, _POLICY_TYPES)
        for index, kind in enumerate(kinds)
        if kind not in _POLICY_TYPES
    ]
    return errors


def _validate_policy_port(port: Manifest, place: str) -> Iterator[FieldError]:
    protocol, number, end = port.get("protocol", "TCP"), port.get("port"), port.get("endPort")
    if protocol not in PROTOCOLS:
        yield unsupported(f"{place}.protocol", protocol, PROTOCOLS)
    if number is None:
        if end is not None:
            yield required(f"{place}.port", "must be specified when `endPort` is specified")
        return
    yield from number_or_name(number, f"{place}.port")
    if end is None:
        return
    if isinstance(number, str):
        yield invalid_value(f"{place}.endPort", end, "may not be specified when `port` is non-numeric")
        return
    if end < number:
        yield invalid_value(f"{place}.endPort", end, "must be greater than or equal to `port`")
    if not is_port(end):
        yield invalid_value(f"{place}.endPort", end, RANGE)


def _validate_peer(peer: Manifest, place: str) -> Iterator[FieldError]:
    block = peer.get("ipBlock")
    for field in ("podSelector", "namespaceSelector"):
        yield from validate_selector(peer.get(field), f"{place}.{field}")
    if block is not None:
        yield from _validate_block(block, f"{place}.ipBlock")
        if len(peer) > 1:
            yield forbidden_field(place, "may not specify both ipBlock and another peer")
    elif not peer:
        yield required(place, "must specify a peer")


def _validate_block(block: Manifest, place: str) -> Iterator[FieldError]:
    text = block.get("cidr") or ""
    if not text:
        yield required(f"{place}.cidr")
        return
    whole = _network(text)
    if whole is None:
        yield invalid_value(f"{place}.cidr", text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
        return
    for index, inner in enumerate(block.get("except") or ()):
        where, out = f"{place}.except[{index}]", _network(inner)
        if out is None:
            yield invalid_value(where, inner, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
        elif out.version != whole.version or out.prefixlen <= whole.prefixlen or out.network_address not in whole:
            yield invalid_value(where, inner, "must be a strict subset of `cidr`")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None
