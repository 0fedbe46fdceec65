"""What the Services of a cluster lead to: Services and EndpointSlices come in, addresses of names and the endpoints
behind cluster IPs go out. Makes no request.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec

from kfcore.api.core import Service
from kfcore.api.meta import ServerObject, Struct
from kfcore.api.resource import Resource
from kfcore_local.workloads.endpoints import SERVICE_NAME_LABEL
from kfcore_local.workloads.kinds import EndpointSlice

DOMAIN = "cluster.local"
_HEADLESS = "None"


class RoutedPort(Struct, frozen=True):
    name: str = ""
    port: int = 0
    protocol: str = "TCP"


class RoutedSpec(Struct, frozen=True):
    type: str = ""
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    external_name: str = ""
    session_affinity: str = ""
    ports: list[RoutedPort] = []


class RoutedService(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Service.resource
    spec: RoutedSpec = RoutedSpec()


class RoutedSlice(ServerObject, frozen=True):
    resource: ClassVar[Resource] = EndpointSlice.resource
    endpoints: list[dict[str, Any]] | None = None
    ports: list[dict[str, Any]] | None = None


class Found(msgspec.Struct, frozen=True):
    """What a name stands for."""

    addresses: tuple[str, ...] = ()
    alias: str = ""


class Door(msgspec.Struct, frozen=True):
    """A port of a cluster IP, and the endpoints that are ready behind it."""

    address: str
    port: int
    endpoints: tuple[tuple[str, int], ...]
    sticky: bool = False
    """Whether a client is led to the same endpoint each time."""


class Directory:
    def __init__(self) -> None:
        self._services: dict[tuple[str, str], RoutedService] = {}
        self._slices: dict[tuple[str, str], dict[str, RoutedSlice]] = defaultdict(dict)

    def put_service(self, service: RoutedService) -> None:
        self._services[service.namespace, service.name] = service

    def remove_service(self, service: RoutedService) -> None:
        self._services.pop((service.namespace, service.name), None)

    def put_slice(self, slice_: RoutedSlice) -> None:
        self._slices[_service_of(slice_)][slice_.name] = slice_

    def remove_slice(self, slice_: RoutedSlice) -> None:
        key = _service_of(slice_)
        self._slices[key].pop(slice_.name, None)
        if not self._slices[key]:
            del self._slices[key]

    # ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def find(self, name: str) -> Found | None:
        """What a full name of the cluster's domain stands for; None when there is no such name.

        `service.namespace.svc`, `hostname.service.namespace.svc` of a pod (one without a hostname has its address with
        dashes there), and `1-2-3-4.namespace.pod`, below DOMAIN.
        """
        labels = name.removesuffix("." + DOMAIN).split(".")
        if len(labels) == 3 and labels[2] == "pod":
            return _dashed(labels[0])
        if labels[-1] != "svc" or len(labels) not in (3, 4):
            return None
        key = (labels[-2], labels[-3])
        service = self._services.get(key)
        if service is None:
            return None
        if len(labels) == 4:
            found = tuple(address for address, endpoint in self._ready(key) if _label(address, endpoint) == labels[0])
            return Found(found) if found else None
        if service.spec.type == "ExternalName":
            return Found(alias=service.spec.external_name)
        if service.spec.cluster_ip != _HEADLESS:
            return Found((service.spec.cluster_ip,)) if service.spec.cluster_ip else Found()
        return Found(tuple(dict.fromkeys(address for address, _ in self._ready(key))))

    def name_of(self, address: str) -> str | None:
        """The full name of a cluster IP, or of a pod behind a Service, as CoreDNS gives them."""
        for (namespace, name), service in self._services.items():
            full = f"{name}.{namespace}.svc.{DOMAIN}"
            if service.spec.cluster_ip == address:
                return full
            for ready, endpoint in self._ready((namespace, name)):
                if ready == address:
                    return f"{_label(address, endpoint)}.{full}"
        return None

    # ── cluster IPs ──────────────────────────────────────────────────────────────────────────────────────────────────

    def doors(self) -> Iterator[Door]:
        """Those with an endpoint behind them: at others nobody answers."""
        for key, service in self._services.items():
            if service.spec.cluster_ip in ("", _HEADLESS):
                continue
            for port in service.spec.ports:
                endpoints = tuple(self._behind(key, port))
                if endpoints and port.protocol == "TCP":
                    sticky = service.spec.session_affinity == "ClientIP"
                    yield Door(service.spec.cluster_ip, port.port, endpoints, sticky)

    def _behind(self, key: tuple[str, str], port: RoutedPort) -> Iterator[tuple[str, int]]:
        for slice_ in self._slices.get(key, {}).values():
            numbers = [entry.get("port") for entry in slice_.ports or () if (entry.get("name") or "") == port.name]
            if numbers and isinstance(numbers[0], int):
                for address, _ in _ready_of(slice_):
                    yield address, numbers[0]

    def _ready(self, key: tuple[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        for slice_ in self._slices.get(key, {}).values():
            yield from _ready_of(slice_)


def _ready_of(slice_: RoutedSlice) -> Iterator[tuple[str, dict[str, Any]]]:
    """Addresses of IPv4; an endpoint that does not say whether it is ready counts as ready."""
    for endpoint in slice_.endpoints or ():
        if (endpoint.get("conditions") or {}).get("ready", True) is not False:
            for address in endpoint.get("addresses") or ():
                if ":" not in address:
                    yield address, endpoint


def _label(address: str, endpoint: dict[str, Any]) -> str:
    """What a pod is called below its Service."""
    return str(endpoint.get("hostname") or address.replace(".", "-"))


def _service_of(slice_: RoutedSlice) -> tuple[str, str]:
    return slice_.namespace, slice_.metadata.labels.get(SERVICE_NAME_LABEL, "")


def _dashed(label: str) -> Found | None:
    try:
        return Found((str(ipaddress.IPv4Address(label.replace("-", "."))),))
    except ValueError:
        return None
