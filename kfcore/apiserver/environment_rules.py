"""The rules of a container's environment: variables, and what they are read from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import config_key, dns_subdomain, qualified_name
from kfcore.apiserver.status import FieldError, invalid_value, required, unsupported

_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_REFERENCES = ("configMapRef", "secretRef")
_OF_VARIABLES = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_OF_FILES = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_READABLE = frozenset(_OF_VARIABLES) | frozenset(_OF_FILES)
_SUBSCRIPTED = re.compile(r"(metadata\.(?:labels|annotations))\['(.*)'\]")
_RESOURCES = tuple(
    f"{group}.{name}" for group in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)
_HUGE_PAGES = ("requests.hugepages-", "limits.hugepages-")
_NAME = re.compile(r"[ -<>-~]+")
_NOT_A_NAME = "a valid environment variable name must consist only of printable ASCII characters other than '='"


def validate_environment(container: Manifest, place: str) -> Iterator[FieldError]:
    for index, variable in enumerate(container.get("env") or ()):
        yield from _validate_variable(variable, f"{place}.env[{index}]")
    for index, source in enumerate(container.get("envFrom") or ()):
        yield from _validate_source(source, f"{place}.envFrom", index)


def _validate_variable(variable: Manifest, place: str) -> Iterator[FieldError]:
    name = variable.get("name") or ""
    if not name:
        yield required(f"{place}.name")
    elif not _NAME.fullmatch(name):
        yield invalid_value(f"{place}.name", name, _NOT_A_NAME)
    if (source := variable.get("valueFrom")) is None:
        return
    place = f"{place}.valueFrom"
    found = [field for field in _SOURCES if source.get(field) is not None]
    for field in found:
        where = f"{place}.{field}"
        match field:
            case "fieldRef":
                yield from validate_field(source[field], where, _OF_VARIABLES)
            case "resourceFieldRef":
                yield from validate_resource_field(source[field], where)
            case "configMapKeyRef" | "secretKeyRef":
                yield from _validate_key(source[field], where)
    if not found:
        listed = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        yield invalid_value(place, "", f"must specify one of: {listed}")
    elif variable.get("value"):
        yield invalid_value(place, "", "may not be specified when `value` is not empty")
    elif len(found) > 1:
        yield invalid_value(place, "", "may not have more than one field specified at a time")


def _validate_source(source: Manifest, place: str, index: int) -> Iterator[FieldError]:
    where = f"{place}[{index}]"
    if (prefix := source.get("prefix")) and not _NAME.fullmatch(prefix):
        yield invalid_value(f"{where}.prefix", prefix, _NOT_A_NAME)
    found = [field for field in _REFERENCES if source.get(field) is not None]
    for field in found:
        name = source[field].get("name") or ""
        if not name:
            yield required(f"{where}.{field}.name")
        elif why := dns_subdomain(name):
            yield invalid_value(f"{where}.{field}.name", name, why)
    if not found:
        yield invalid_value(place, "", "must specify one of: `configMapRef` or `secretRef`")
    elif len(found) > 1:
        yield invalid_value(place, "", "may not have more than one field specified at a time")


def _validate_key(reference: Manifest, place: str) -> Iterator[FieldError]:
    name, key = reference.get("name") or "", reference.get("key") or ""
    if why := dns_subdomain(name):
        yield invalid_value(f"{place}.name", name, why)
    if not key:
        yield required(f"{place}.key")
    else:
        yield from (invalid_value(f"{place}.key", key, why) for why in config_key(key))


def validate_field(reference: Manifest, place: str, readable: Sequence[str] = _OF_FILES) -> Iterator[FieldError]:
    """A reference to a field of the pod. `readable`: those that may be read there; by default, those of a file."""
    path = reference.get("fieldPath") or ""
    if not path:
        yield required(f"{place}.fieldPath")
    elif subscript := _SUBSCRIPTED.fullmatch(path):
        key = subscript[2].lower() if subscript[1].endswith("annotations") else subscript[2]
        yield from (invalid_value(place, key, why) for why in qualified_name(key))
    elif path not in _READABLE:
        why = f"error converting fieldPath: field label not supported: {path}"
        yield invalid_value(f"{place}.fieldPath", path, why)
    elif path not in readable:
        yield unsupported(f"{place}.fieldPath", path, readable)


def validate_resource_field(reference: Manifest, place: str, *, in_file: bool = False) -> Iterator[FieldError]:
    """A reference to what a container asks for or may take; in a file, it says of which container."""
    resource = reference.get("resource") or ""
    if in_file and not reference.get("containerName"):
        yield required(f"{place}.containerName")
    elif not resource:
        yield required(f"{place}.resource")
    elif resource not in _RESOURCES and not resource.startswith(_HUGE_PAGES):
        yield unsupported(f"{place}.resource", resource, _RESOURCES)
    divisor = reference.get("divisor", "0")
    if divisor != "0" and resource.endswith(".cpu") and divisor not in ("1", "1m"):
        why = "only divisor's values 1m and 1 are supported with the cpu resource"
        yield invalid_value(f"{place}.divisor", resource, why)
