"""The rules of EndpointSlices and of Endpoints: addresses, and ports with names that tell them apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import dns_label, dns_subdomain
from kfcore.apiserver.paths import address, ordinary
from kfcore.apiserver.ports import PROTOCOLS, RANGE, is_port
from kfcore.apiserver.status import FieldError, duplicate, invalid_value, required, unsupported

_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_MOST_ADDRESSES = 100


def validate_endpoint_slice(endpoint_slice: Manifest, previous: Manifest | None) -> list[FieldError]:
    kind = endpoint_slice.get("addressType") or ""
    if not kind:
        return [required("addressType")]
    if kind not in _ADDRESS_TYPES:
        return [unsupported("addressType", kind, _ADDRESS_TYPES)]
    errors = [*_validate_endpoints(endpoint_slice.get("endpoints") or (), kind)]
    errors += _validate_ports(endpoint_slice.get("ports") or ())
    if previous is not None and previous.get("addressType") != kind:
        errors.append(invalid_value("addressType", kind, "field is immutable"))
    return errors


def _validate_endpoints(endpoints: Sequence[Manifest], kind: str) -> Iterator[FieldError]:
    for index, endpoint in enumerate(endpoints):
        place, addresses = f"endpoints[{index}]", endpoint.get("addresses") or []
        if not addresses:
            yield required(f"{place}.addresses", "must contain at least 1 address")
        elif len(addresses) > _MOST_ADDRESSES:
            why = f"Too many: {len(addresses)}: must have at most {_MOST_ADDRESSES} items"
            yield FieldError("FieldValueTooMany", f"{place}.addresses", why)
        for number, text in enumerate(addresses):
            where = f"{place}.addresses[{number}]"
            if kind == "FQDN":
                if why_not := dns_subdomain(text):
                    yield invalid_value(where, text, why_not)
                continue
            problems = list(address(text, where))
            yield from problems
            if problems:
                continue
            if (":" in text) != (kind == "IPv6"):
                yield invalid_value(where, text, f"must be a valid {kind} address")
            yield from ordinary(text, where, loopback=True)
        if (name := endpoint.get("nodeName")) is not None and (why := dns_subdomain(name) or ""):
            yield invalid_value(f"{place}.nodeName", name, why)
        if (host := endpoint.get("hostname")) and (why := dns_label(host) or ""):
            yield invalid_value(f"{place}.hostname", host, why)


def _validate_ports(ports: Sequence[Manifest]) -> Iterator[FieldError]:
    names: set[str] = set()
    for index, port in enumerate(ports):
        place, name = f"ports[{index}]", port.get("name") or ""
        if name and (why := dns_label(name)):
            yield invalid_value(f"{place}.name", name, why)
        if name in names:
            yield duplicate(f"{place}.name", name)
        names.add(name)
        if (protocol := port.get("protocol", "TCP")) not in PROTOCOLS:
            yield unsupported(f"{place}.protocol", protocol, PROTOCOLS)
        if (number := port.get("port")) is not None and not is_port(number):
            yield invalid_value(f"{place}.port", number, RANGE)


def validate_endpoints(endpoints: Manifest, previous: Manifest | None) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, subset in enumerate(endpoints.get("subsets") or ()):
        place = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            errors.append(required(place, "must specify `addresses` or `notReadyAddresses`"))
        for field in ("addresses", "notReadyAddresses"):
            for number, item in enumerate(subset.get(field) or ()):
                errors += _validate_address(item, f"{place}.{field}[{number}]")
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            errors += _validate_port(port, f"{place}.ports[{number}]", named=len(ports) > 1)
    return errors


def _validate_address(item: Manifest, place: str) -> Iterator[FieldError]:
    text = item.get("ip") or ""
    problems = list(address(text, f"{place}.ip"))
    yield from problems
    if (host := item.get("hostname")) and (why := dns_label(host)):
        yield invalid_value(f"{place}.hostname", host, why)
    if not problems:
        yield from ordinary(text, f"{place}.ip", loopback=True)


def _validate_port(port: Manifest, place: str, *, named: bool) -> Iterator[FieldError]:
    name, protocol = port.get("name") or "", port.get("protocol", "TCP")
    if named and not name:
        yield required(f"{place}.name")
    elif name and (why := dns_label(name)):
        yield invalid_value(f"{place}.name", name, why)
    if not is_port(port.get("port") or 0):
        yield invalid_value(f"{place}.port", port.get("port") or 0, RANGE)
    if protocol not in PROTOCOLS:
        yield unsupported(f"{place}.protocol", protocol, PROTOCOLS)
