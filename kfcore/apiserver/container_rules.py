"""The rules of containers: those of a pod, those that run before them, and those that are let in later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.environment_rules import validate_environment
from kfcore.apiserver.names import dns_label
from kfcore.apiserver.ports import PROTOCOLS, RANGE, is_port, port_name
from kfcore.apiserver.probe_rules import PROBES, validate_lifecycle, validate_probe
from kfcore.apiserver.resource_rules import validate_resources
from kfcore.apiserver.security_rules import validate_container_security
from kfcore.apiserver.status import FieldError, duplicate, forbidden_field, invalid_value, required, unsupported
from kfcore.apiserver.volume_rules import validate_mounts

_PULL = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
_RESTARTS = ("Always", "OnFailure", "Never")
_RESIZABLE = ("cpu", "memory")
_RESIZE_RESTARTS = ("NotRequired", "RestartContainer")
_ONLY_LASTING = "may not be set for init containers without restartPolicy=Always"


def validate_containers(spec: Manifest, place: str) -> Iterator[FieldError]:
    """The containers of a pod's spec, and those before them."""
    containers = spec.get("containers") or ()
    if not containers:
        yield required(f"{place}.containers")
    volumes = {str(volume.get("name")): volume for volume in spec.get("volumes") or ()}
    names: set[str] = set()
    for index, container in enumerate(containers):
        where = f"{place}.containers[{index}]"
        yield from validate_container(container, where, volumes, spec)
        if (name := container.get("name") or "") in names:
            yield duplicate(f"{where}.name", name)
        names.add(name)
        yield from _validate_life(container, where, spec)
        if (policy := container.get("restartPolicy")) is not None and policy not in _RESTARTS:
            yield unsupported(f"{where}.restartPolicy", policy, _RESTARTS)
    yield from _validate_host_ports(containers, f"{place}.containers")
    for index, container in enumerate(spec.get("initContainers") or ()):
        where = f"{place}.initContainers[{index}]"
        yield from validate_container(container, where, volumes, spec)
        if (policy := container.get("restartPolicy")) is not None and policy not in _RESTARTS:
            yield unsupported(f"{where}.restartPolicy", policy, _RESTARTS)
        if (name := container.get("name") or "") and name in names:
            yield duplicate(f"{where}.name", name)
        names.add(name)
        yield from _validate_host_ports([container], f"{place}.initContainers")
        if policy == "Always":
            yield from _validate_life(container, where, spec)
            continue
        for field in ("lifecycle", *PROBES):
            if container.get(field) is not None:
                yield forbidden_field(f"{where}.{field}", _ONLY_LASTING)


def validate_container(
    container: Manifest, place: str, volumes: dict[str, Manifest], spec: Manifest
) -> Iterator[FieldError]:
    """What containers of every sort have to be. `volumes` are those of the pod, by name."""
    name = container.get("name") or ""
    if not name:
        yield required(f"{place}.name")
    elif why := dns_label(name):
        yield invalid_value(f"{place}.name", name, why)
    if not container.get("image"):
        yield required(f"{place}.image")
    if (policy := container.get("terminationMessagePolicy", "File")) not in _MESSAGE_POLICIES:
        yield unsupported(f"{place}.terminationMessagePolicy", policy, _MESSAGE_POLICIES)
    if ports := container.get("ports"):
        yield from _validate_ports(ports, f"{place}.ports")
    yield from validate_environment(container, place)
    yield from validate_mounts(container, place, volumes)
    if container.get("imagePullPolicy", "Always") not in _PULL:
        yield unsupported(f"{place}.imagePullPolicy", container["imagePullPolicy"], _PULL)
    if resources := container.get("resources"):
        yield from validate_resources(resources, f"{place}.resources")
    if resizes := container.get("resizePolicy"):
        yield from _validate_resizes(resizes, f"{place}.resizePolicy", spec)
    if context := container.get("securityContext"):
        yield from validate_container_security(context, f"{place}.securityContext")


def validate_images(spec: Manifest, place: str) -> Iterator[FieldError]:
    """Of pods alone, not of templates."""
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            image = container.get("image") or ""
            if image != image.strip():
                why = "must not have leading or trailing whitespace"
                yield invalid_value(f"{place}.{field}[{index}].image", image, why)


def _validate_life(container: Manifest, place: str, spec: Manifest) -> Iterator[FieldError]:
    if (lifecycle := container.get("lifecycle")) is not None:
        grace: Any = spec.get("terminationGracePeriodSeconds")
        yield from validate_lifecycle(lifecycle, f"{place}.lifecycle", grace)
    for field in PROBES:
        if (probe := container.get(field)) is not None:
            yield from validate_probe(probe, f"{place}.{field}", field)


def _validate_ports(ports: Sequence[Manifest], place: str) -> Iterator[FieldError]:
    names: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{place}[{index}]"
        if name := port.get("name"):
            problems = list(port_name(name))
            yield from (invalid_value(f"{where}.name", name, why) for why in problems)
            if not problems and name in names:
                yield duplicate(f"{where}.name", name)
            names.add(name)
        number = port.get("containerPort")
        if not number:
            yield required(f"{where}.containerPort")
        elif not is_port(number):
            yield invalid_value(f"{where}.containerPort", number, RANGE)
        if (host := port.get("hostPort") or 0) and not is_port(host):
            yield invalid_value(f"{where}.hostPort", host, RANGE)
        if port.get("protocol", "TCP") not in PROTOCOLS:
            yield unsupported(f"{where}.protocol", port["protocol"], PROTOCOLS)


def _validate_host_ports(containers: Sequence[Manifest], place: str) -> Iterator[FieldError]:
    """A port of the host goes to one of these containers."""
    taken: set[str] = set()
    for index, container in enumerate(containers):
        for number, port in enumerate(container.get("ports") or ()):
            if not (host := port.get("hostPort")):
                continue
            shown = f"{port.get('protocol', 'TCP')}/{port.get('hostIP') or ''}/{host}"
            if shown in taken:
                yield duplicate(f"{place}[{index}].ports[{number}].hostPort", shown)
            taken.add(shown)


def _validate_resizes(policies: Sequence[Manifest], place: str, spec: Manifest) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, policy in enumerate(policies):
        resource, restart = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        if resource in seen:
            yield duplicate(f"{place}[{index}]", resource)
        seen.add(resource)
        for value, known in ((resource, _RESIZABLE), (restart, _RESIZE_RESTARTS)):
            if not value:
                yield required(place)
            elif value not in known:
                yield unsupported(place, value, known)
        if spec.get("restartPolicy") == "Never" and restart != "NotRequired":
            why = "must be 'NotRequired' when `restartPolicy` is 'Never'"
            yield invalid_value(place, restart, why)
