"""Further rules of a pod's spec: where it may run, as whom, what its volumes and hooks name. `pod_rules.py` has those
that every pod meets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import dns_subdomain, qualified_name
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, required, unsupported

_USER_RANGE = "must be between 0 and 2147483647, inclusive"
_USERS = ("runAsUser", "runAsGroup", "fsGroup")
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
_MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")
_FIELD_PATHS = frozenset({
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
})  # fmt: skip
_SUBSCRIPTED = re.compile(r"metadata\.(labels|annotations)\['[^']+'\]")
_CONTAINER_LISTS = ("containers", "initContainers")


def validate_details(spec: Manifest, place: str) -> Iterator[FieldError]:
    yield from _validate_user(spec.get("securityContext") or {}, f"{place}.securityContext")
    yield from _validate_node(spec, place)
    yield from _validate_affinity(spec.get("affinity") or {}, f"{place}.affinity")
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        yield from _validate_spread(constraint, f"{place}.topologySpreadConstraints[{index}]")
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        condition = gate.get("conditionType") or ""
        for why in qualified_name(condition):
            yield invalid_value(f"{place}.readinessGates[{index}].conditionType", condition, why)
    names = {volume.get("name") for volume in spec.get("volumes") or ()}
    for index, volume in enumerate(spec.get("volumes") or ()):
        path = (volume.get("hostPath") or {}).get("path") or ""
        if ".." in path.split("/"):
            yield invalid_value(f"{place}.volumes[{index}].hostPath.path", path, "must not contain '..'")
    for list_name in _CONTAINER_LISTS:
        for index, container in enumerate(spec.get(list_name) or ()):
            yield from _validate_container(container, f"{place}.{list_name}[{index}]", names)


def _validate_container(container: Manifest, place: str, volumes: set[Any]) -> Iterator[FieldError]:
    yield from _validate_user(container.get("securityContext") or {}, f"{place}.securityContext")
    if (policy := container.get("terminationMessagePolicy", "File")) not in _MESSAGE_POLICIES:
        yield unsupported(f"{place}.terminationMessagePolicy", policy, _MESSAGE_POLICIES)
    for hook in ("postStart", "preStop"):
        handler = (container.get("lifecycle") or {}).get(hook)
        if handler is not None and not any(handler.get(name) is not None for name in _HANDLERS):
            yield required(f"{place}.lifecycle.{hook}", "must specify a handler type")
    for index, device in enumerate(container.get("volumeDevices") or ()):
        if (name := device.get("name")) not in volumes:
            yield FieldError("FieldValueNotFound", f"{place}.volumeDevices[{index}].name", f'Not found: "{name or ""}"')
    for index, variable in enumerate(container.get("env") or ()):
        path = ((variable.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath")
        if path and path not in _FIELD_PATHS and not _SUBSCRIPTED.fullmatch(path):
            why = f"error converting fieldPath: field label not supported: {path}"
            yield invalid_value(f"{place}.env[{index}].valueFrom.fieldRef.fieldPath", path, why)


def _validate_user(context: Manifest, place: str) -> Iterator[FieldError]:
    for field in _USERS:
        if isinstance(number := context.get(field), int) and not 0 <= number < 2**31:
            yield invalid_value(f"{place}.{field}", number, _USER_RANGE)


def _validate_node(spec: Manifest, place: str) -> Iterator[FieldError]:
    node = spec.get("nodeName") or ""
    if node and (why := dns_subdomain(node)):
        yield invalid_value(f"{place}.nodeName", node, why)
    if node and spec.get("schedulingGates"):
        yield forbidden_field(f"{place}.nodeName", "cannot be set until all schedulingGates have been cleared")


def _validate_affinity(affinity: Manifest, place: str) -> Iterator[FieldError]:
    wanted = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if wanted is not None and not wanted.get("nodeSelectorTerms"):
        yield required(
            f"{place}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
            "must have at least one node selector term",
        )
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind) or {}
        for index, term in enumerate(terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
            where = f"{place}.{kind}.requiredDuringSchedulingIgnoredDuringExecution[{index}]"
            yield from _validate_topology(term, where)
        for index, weighted in enumerate(terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            where = f"{place}.{kind}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
            weight = weighted.get("weight") or 0
            if not 0 < weight <= 100:
                yield invalid_value(f"{where}.weight", weight, "must be in the range 1-100")
            yield from _validate_topology(weighted.get("podAffinityTerm") or {}, f"{where}.podAffinityTerm")


def _validate_topology(term: Manifest, place: str) -> Iterator[FieldError]:
    key = term.get("topologyKey") or ""
    if not key:
        yield required(f"{place}.topologyKey", "can not be empty")
    for why in qualified_name(key) if key else ():
        yield invalid_value(f"{place}.topologyKey", key, why)


def _validate_spread(constraint: Manifest, place: str) -> Iterator[FieldError]:
    skew = constraint.get("maxSkew") or 0
    if skew <= 0:
        yield invalid_value(f"{place}.maxSkew", skew, "must be greater than zero")
    yield from _validate_topology(constraint, place)
    if (policy := constraint.get("whenUnsatisfiable") or "") not in _UNSATISFIABLE:
        yield unsupported(f"{place}.whenUnsatisfiable", policy, _UNSATISFIABLE)
