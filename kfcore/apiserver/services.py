"""Services: defaults, cluster IPs and the rules that users meet."""

from __future__ import annotations

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import dns_label
from kfcore.apiserver.status import (
    FieldError,
    bad_request,
    duplicate,
    invalid_value,
    required,
    unsupported,
)

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_RANGE = "must be between 1 and 65535, inclusive"
_NODE_PORTS = 30000


class Addresses:
    """Hands out cluster IPs and node ports, each once in a server's life."""

    def __init__(self) -> None:
        self._next_ip = 10
        self._next_port = _NODE_PORTS

    def ip(self) -> str:
        number = self._next_ip
        self._next_ip += 1
        return f"10.96.{number >> 8 & 255}.{number & 255}"

    def port(self) -> int:
        self._next_port += 1
        return self._next_port


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
    if spec["type"] != "ExternalName":
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if spec.get("clusterIP"):
        spec.setdefault("clusterIPs", [spec["clusterIP"]])


def admit_service(addresses: Addresses, service: Manifest) -> None:
    """Give a new service its addresses and its first status."""
    spec = service["spec"]
    service["status"] = {"loadBalancer": {}}
    if spec["type"] == "ExternalName":
        return
    if not spec.get("clusterIP") and spec.get("ports"):
        spec["clusterIP"] = addresses.ip()
    if spec.get("clusterIP"):
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
    if spec["type"] in ("NodePort", "LoadBalancer"):
        for port in spec.get("ports", ()):
            port.setdefault("nodePort", addresses.port())


def validate_service(service: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = service["spec"]
    errors: list[FieldError] = []
    ports = spec.get("ports", [])
    if not ports and spec.get("clusterIP") != "None" and spec["type"] != "ExternalName":
        errors.append(required("spec.ports"))
    names: set[str] = set()
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
        if port["protocol"] not in _PROTOCOLS:
            errors.append(unsupported(f"{place}.protocol", port["protocol"], _PROTOCOLS))
    if spec["type"] not in _TYPES:
        errors.append(unsupported("spec.type", spec["type"], _TYPES))
    if spec["type"] == "ExternalName" and not spec.get("externalName"):
        errors.append(required("spec.externalName"))
    if previous is not None and previous["spec"].get("clusterIP") not in (None, spec.get("clusterIP")):
        given = spec.get("clusterIP")
        errors.append(invalid_value("spec.clusterIPs[0]", [given] if given else None, "may not change once set"))
    return errors


def _mistyped(path: str, type_: str) -> Exception:
    return bad_request(
        'Service in version "v1" cannot be handled as a Service: json: cannot unmarshal value into Go struct field '
        f"ServiceSpec.{path} of type {type_}"
    )
