"""The rules of what a container asks for and may take: names of resources, quantities, requests within limits."""

from __future__ import annotations

from collections.abc import Iterator

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import qualified_name
from kfcore.apiserver.quantities import EXPECTED, amount
from kfcore.apiserver.status import FieldError, bad_request, forbidden_field, invalid_value, required

NOT_NEGATIVE = "must be greater than or equal to 0"
_NATIVE = "kubernetes.io/"
_OF_CONTAINERS = ("cpu", "memory", "ephemeral-storage")
_OF_QUOTAS = frozenset({
    "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
    "storage", "services.nodeports", "services.loadbalancers",
})  # fmt: skip
_STANDARD_PREFIXES = ("requests.", "limits.", "hugepages-")


def validate_resources(resources: Manifest, place: str) -> Iterator[FieldError]:
    """Requests are quantities, of resources that there are, and no more than their limits."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for resource, quantity in limits.items():
        yield from _validate_quantity(resource, str(quantity), f"{place}.limits[{resource}]")
    for resource, quantity in requests.items():
        yield from _validate_quantity(resource, str(quantity), f"{place}.requests[{resource}]")
        yield from _within(resource, str(quantity), limits.get(resource), place)
    named = {*limits, *requests}
    if any(name.startswith("hugepages-") for name in named) and not named & {"cpu", "memory"}:
        yield forbidden_field(place, "HugePages require cpu or memory")


def _validate_quantity(resource: str, quantity: str, place: str) -> Iterator[FieldError]:
    yield from container_resource_name(resource, place)
    size = amount(quantity)
    if size is None:
        raise bad_request(EXPECTED)
    if size < 0:
        yield invalid_value(place, quantity, NOT_NEGATIVE)
    elif _extended(resource) and size != size.to_integral_value():
        yield invalid_value(place, quantity, "must be an integer")


def _within(resource: str, quantity: str, limit: object, place: str) -> Iterator[FieldError]:
    shares = overcommits(resource)
    if limit is None:
        if not shares:
            yield required(f"{place}.limits", "Limit must be set for non overcommitable resources")
        return
    most, size = amount(str(limit)), amount(quantity)
    if most is None or size is None:
        return
    if not shares and size != most:
        yield invalid_value(f"{place}.requests", quantity, f"must be equal to {resource} limit of {limit}")
    elif size > most:
        yield invalid_value(f"{place}.requests", quantity, f"must be less than or equal to {resource} limit of {limit}")


def overcommits(resource: str) -> bool:
    """Whether more of a resource may be promised than there is: of devices and huge pages not."""
    native = "/" not in resource or _NATIVE in resource
    return native and not resource.startswith("hugepages-")


def _extended(resource: str) -> bool:
    return "/" in resource and _NATIVE not in resource and not resource.startswith("requests.")


def resource_name(resource: str, place: str) -> Iterator[FieldError]:
    """What is wrong with the name of a resource anywhere: in a quota, in a volume claim's range of sizes."""
    problems = qualified_name(resource)
    for why in problems:
        yield invalid_value(place, resource, why)
    if not problems and "/" not in resource and not _standard(resource):
        yield invalid_value(place, resource, "must be a standard resource type or fully qualified")


def container_resource_name(resource: str, place: str) -> Iterator[FieldError]:
    yield from resource_name(resource, place)
    if "/" not in resource:
        if resource not in _OF_CONTAINERS and not resource.startswith("hugepages-"):
            yield invalid_value(place, resource, "must be a standard resource for containers")
    elif _NATIVE not in resource and resource.startswith("requests."):
        yield invalid_value(place, resource, "doesn't follow extended resource name standard")


def quota_resource_name(resource: str, place: str) -> Iterator[FieldError]:
    yield from resource_name(resource, place)
    if "/" not in resource and not _counted(resource):
        yield invalid_value(place, resource, "must be a standard resource for quota")


def _counted(resource: str) -> bool:
    return _standard(resource) and resource != "storage" and not resource.startswith("hugepages-")


def _standard(resource: str) -> bool:
    if resource in _OF_CONTAINERS or resource in _OF_QUOTAS or resource.startswith("hugepages-"):
        return True
    kind, _, of = resource.partition(".")
    return kind in ("requests", "limits") and (
        of in _OF_CONTAINERS or of.startswith("hugepages-") or (kind == "requests" and of == "storage")
    )
