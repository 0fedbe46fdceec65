"""The rules of what a claim of storage asks for, whoever makes it: a user, a StatefulSet, a pod."""

from __future__ import annotations

from collections.abc import Iterator

from kfcore.api.meta import Manifest
from kfcore.apiserver.label_rules import validate_selector
from kfcore.apiserver.names import dns_subdomain
from kfcore.apiserver.quantities import amount
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, required, unsupported

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_ONE_POD = "ReadWriteOncePod"
VOLUME_MODES = ("Block", "Filesystem")


def validate_claim_spec(spec: Manifest, place: str) -> Iterator[FieldError]:
    modes = spec.get("accessModes") or []
    if not modes:
        yield required(f"{place}.accessModes", "at least 1 access mode is required")
    if (selector := spec.get("selector")) is not None:
        yield from validate_selector(selector, f"{place}.selector")
    yield from validate_access_modes(modes, place)
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        yield required(f"{place}.resources[storage]")
    elif not (amount(str(size)) or 0) > 0:
        yield invalid_value(f"{place}.resources[storage]", size, "must be greater than zero")
    if (name := spec.get("storageClassName")) and (why := dns_subdomain(name)):
        yield invalid_value(f"{place}.storageClassName", name, why)
    if (mode := spec.get("volumeMode")) is not None and mode not in VOLUME_MODES:
        yield unsupported(f"{place}.volumeMode", mode, VOLUME_MODES)


def validate_access_modes(modes: list[str], place: str) -> Iterator[FieldError]:
    for mode in modes:
        if mode not in ACCESS_MODES:
            yield unsupported(f"{place}.accessModes", mode, ACCESS_MODES)
    if _ONE_POD in modes and len(modes) > 1:
        yield forbidden_field(f"{place}.accessModes", f"may not use {_ONE_POD} with other access modes")
