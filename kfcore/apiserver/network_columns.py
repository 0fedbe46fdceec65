"""What `kubectl get` shows of services and of what leads to them: the columns, and one object's cells."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.cells import (
    NONE,
    UNSET,
    BuiltinTable,
    age_of,
    columns,
    first_of,
    joined,
    labels_text,
    name_of,
    selector_text,
    spec_of,
    status_of,
)

_MOST_HOSTS = 3


def _service(obj: Manifest, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    kind = spec.get("type") or "ClusterIP"
    external: str = joined(spec.get("externalIPs") or [])
    if kind == "ExternalName":
        external = spec.get("externalName") or NONE
    elif kind == "LoadBalancer":
        external = ",".join([*_balancers(obj), *(spec.get("externalIPs") or [])]) or "<pending>"
    ports = (
        f"{port.get('port')}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port.get('protocol', 'TCP')}"
        for port in spec.get("ports") or []
    )
    return [
        name_of(obj),
        kind,
        (spec.get("clusterIPs") or [spec.get("clusterIP") or NONE])[0],
        external,
        joined(ports),
        age_of(obj, now),
        labels_text(spec.get("selector")),
    ]


def _balancers(obj: Manifest) -> list[str]:
    """The addresses at which load balancers have it, each once, in order."""
    entries = (status_of(obj).get("loadBalancer") or {}).get("ingress") or []
    return sorted({address for entry in entries if (address := entry.get("ip") or entry.get("hostname"))})


def _endpoints(obj: Manifest, now: datetime) -> list[Any]:
    pairs = [
        f"{address.get('ip')}:{port['port']}" if port else str(address.get("ip"))
        for subset in obj.get("subsets") or []
        for port in subset.get("ports") or [{}]
        for address in subset.get("addresses") or []
    ]
    return [name_of(obj), first_of(pairs) or NONE, age_of(obj, now)]


def _endpoint_slice(obj: Manifest, now: datetime) -> list[Any]:
    ports = [port.get("port") or port.get("name") or "*" for port in obj.get("ports") or []]
    addresses = [address for endpoint in obj.get("endpoints") or [] for address in endpoint.get("addresses") or []]
    return [
        name_of(obj),
        obj.get("addressType", ""),
        first_of(ports) or UNSET,
        first_of(addresses) or UNSET,
        age_of(obj, now),
    ]


def _ingress(obj: Manifest, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    return [
        name_of(obj),
        spec.get("ingressClassName") or NONE,
        _hosts(spec.get("rules") or []),
        ",".join(_balancers(obj)),
        "80, 443" if spec.get("tls") else "80",
        age_of(obj, now),
    ]


def _hosts(rules: list[Manifest]) -> str:
    hosts: list[str] = []
    for rule in rules:
        if len(hosts) == _MOST_HOSTS:  # rules without a host count among those that are not shown, as they always have
            return f"{','.join(hosts)} + {len(rules) - _MOST_HOSTS} more..."
        if host := rule.get("host"):
            hosts.append(host)
    return ",".join(hosts) or "*"


def _ingress_class(obj: Manifest, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    shown, parameters = NONE, spec.get("parameters")
    if parameters:
        group = parameters.get("apiGroup")
        shown = f"{parameters.get('kind', '')}{'.' + group if group else ''}/{parameters.get('name', '')}"
    return [name_of(obj), spec.get("controller", ""), shown, age_of(obj, now)]


def _network_policy(obj: Manifest, now: datetime) -> list[Any]:
    return [name_of(obj), selector_text(spec_of(obj).get("podSelector")), age_of(obj, now)]


_NETWORKING = "networking.k8s.io"

NETWORK_TABLES: dict[tuple[str, str], BuiltinTable] = {
    ("", "services"): BuiltinTable(columns("Name,Type,Cluster-IP,External-IP,Port(s),Age", "Selector"), _service),
    ("", "endpoints"): BuiltinTable(columns("Name,Endpoints,Age"), _endpoints),
    ("discovery.k8s.io", "endpointslices"): BuiltinTable(
        columns("Name,AddressType,Ports,Endpoints,Age"), _endpoint_slice
    ),
    (_NETWORKING, "ingresses"): BuiltinTable(columns("Name,Class,Hosts,Address,Ports,Age"), _ingress),
    (_NETWORKING, "ingressclasses"): BuiltinTable(columns("Name,Controller,Parameters,Age"), _ingress_class),
    (_NETWORKING, "networkpolicies"): BuiltinTable(columns("Name,Pod-Selector,Age"), _network_policy),
}
"""By group and plural."""
