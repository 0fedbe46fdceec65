"""Ingresses, NetworkPolicies and EndpointSlices: defaults, and the rules that users meet."""

from __future__ import annotations

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import dns_subdomain
from kfcore.apiserver.rollout_rules import number_or_percent
from kfcore.apiserver.status import FieldError, invalid_value, required, unsupported
from kfcore.apiserver.workloads import part

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")


def default_network_policy(policy: Manifest) -> None:
    spec = part(policy, "spec", "NetworkPolicy")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    spec.setdefault("podSelector", {})
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                port.setdefault("protocol", "TCP")


def admit_ingress(ingress: Manifest) -> None:
    ingress["status"] = {"loadBalancer": {}}


def validate_ingress(ingress: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = part(ingress, "spec", "Ingress")
    if not spec.get("rules") and not spec.get("defaultBackend"):
        return [invalid_value("spec", [], "either `defaultBackend` or `rules` must be specified")]
    errors: list[FieldError] = []
    if backend := spec.get("defaultBackend"):
        errors += _validate_backend(backend, "spec.defaultBackend")
    for number, rule in enumerate(spec.get("rules") or ()):
        if (host := rule.get("host") or "") and (why := dns_subdomain(host.removeprefix("*."))):
            errors.append(invalid_value(f"spec.rules[{number}].host", host, why))
        http = rule.get("http")
        if http is None:
            continue
        place = f"spec.rules[{number}].http.paths"
        if not http.get("paths"):
            errors.append(required(place))
        for index, path in enumerate(http.get("paths") or ()):
            errors += _validate_path(path, f"{place}[{index}]")
    return errors


def _validate_path(path: Manifest, place: str) -> list[FieldError]:
    errors: list[FieldError] = []
    kind, text = path.get("pathType"), path.get("path") or ""
    if kind is None:
        errors.append(required(f"{place}.pathType", "pathType must be specified"))
    elif kind not in _PATH_TYPES:
        errors.append(unsupported(f"{place}.pathType", kind, _PATH_TYPES))
    elif (text or kind != "ImplementationSpecific") and not text.startswith("/"):
        errors.append(invalid_value(f"{place}.path", text, "must be an absolute path"))
    return errors + _validate_backend(path.get("backend") or {}, f"{place}.backend")


def _validate_backend(backend: Manifest, place: str) -> list[FieldError]:
    service = backend.get("service")
    if service is None:
        if backend.get("resource"):
            return []
        return [required(place, "port name or number is required")]
    if not service.get("name"):
        return [required(f"{place}.service.name")]
    port = service.get("port") or {}
    if not port.get("name") and not port.get("number"):
        return [required(f"{place}", "port name or number is required")]
    return []


def default_endpoint_slice(endpoint_slice: Manifest) -> None:
    endpoint_slice.setdefault("ports", None)
    endpoint_slice.setdefault("endpoints", None)
    for port in endpoint_slice["ports"] or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def validate_endpoint_slice(endpoint_slice: Manifest, previous: Manifest | None) -> list[FieldError]:
    kind = endpoint_slice.get("addressType")
    if not kind:
        return [required("addressType")]
    if kind not in _ADDRESS_TYPES:
        return [unsupported("addressType", kind, _ADDRESS_TYPES)]
    if previous is not None and previous.get("addressType") != kind:
        return [invalid_value("addressType", kind, "field is immutable")]
    return []


def default_endpoints(endpoints: Manifest) -> None:
    for subset in endpoints.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")


def validate_disruption_budget(budget: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = budget.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        return [invalid_value("spec", spec, "minAvailable and maxUnavailable cannot be both set")]
    return [
        error
        for field in ("minAvailable", "maxUnavailable")
        if spec.get(field) is not None
        for error in number_or_percent(spec[field], f"spec.{field}")
    ]
