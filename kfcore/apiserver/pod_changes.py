"""`pods/NAME/ephemeralcontainers` and `pods/NAME/resize`: the two ways to change what a pod that exists is made of.
Each takes a pod, and sees one part of it.
"""

from __future__ import annotations

from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import dns_label
from kfcore.apiserver.pod_rules import validate_resources
from kfcore.apiserver.pods import default_container, qos_class
from kfcore.apiserver.status import FieldError, duplicate, forbidden_field, invalid_value, required

_EPHEMERAL = "ephemeralContainers"
_NOT_EPHEMERAL = (
    "ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources", "resizePolicy",
)  # fmt: skip
_RESIZABLE = ("cpu", "memory")


def only(subresource: str, before: Manifest, wanted: Manifest) -> Manifest:
    """`before` with what `wanted` says of the subresource's part."""
    now, then = wanted.get("spec"), before["spec"]
    spec: Any = dict(then)
    if isinstance(now, dict) and subresource == "ephemeralcontainers":
        spec.pop(_EPHEMERAL, None)
        if now.get(_EPHEMERAL):
            spec[_EPHEMERAL] = now[_EPHEMERAL]
    elif isinstance(now, dict):
        for name in ("containers", "initContainers"):
            if name in then:
                spec[name] = _resized(then[name], now.get(name))
    identity = {**before["metadata"]}
    if version := (wanted.get("metadata") or {}).get("resourceVersion"):
        identity["resourceVersion"] = version
    if (given := (wanted.get("metadata") or {}).get("name")) is not None:
        identity["name"] = given
    return {**before, "metadata": identity, "spec": spec}


def _resized(then: list[Manifest], now: Any) -> list[Manifest]:
    wanted = {item.get("name"): item for item in now if isinstance(item, dict)} if isinstance(now, list) else {}
    made = []
    for container in then:
        other = wanted.get(container["name"], {})
        kept = {name: other[name] for name in ("resources", "resizePolicy") if name in other}
        made.append({**container, **kept})
    return made


def default_ephemeral(pod: Manifest) -> None:
    for container in pod["spec"].get(_EPHEMERAL) or ():
        default_container(container)


def validate_change(subresource: str, pod: Manifest, previous: Manifest) -> list[FieldError]:
    if subresource == "ephemeralcontainers":
        return _validate_ephemeral(pod["spec"], previous["spec"])
    return _validate_resize(pod["spec"], previous["spec"])


def _validate_ephemeral(spec: Manifest, before: Manifest) -> list[FieldError]:
    errors: list[FieldError] = []
    names = {container["name"] for name in ("containers", "initContainers") for container in spec.get(name) or ()}
    present = {container["name"]: container for container in before.get(_EPHEMERAL) or ()}
    for index, container in enumerate(spec.get(_EPHEMERAL) or ()):
        place = f"spec.{_EPHEMERAL}[{index}]"
        name, target = container.get("name") or "", container.get("targetContainerName")
        if not name:
            errors.append(required(f"{place}.name"))
        elif why := dns_label(name):
            errors.append(invalid_value(f"{place}.name", name, why))
        elif name in names:
            errors.append(duplicate(f"{place}.name", name))
        names.add(name)
        if not container.get("image"):
            errors.append(required(f"{place}.image"))
        errors += [
            forbidden_field(f"{place}.{field}", "cannot be set for an Ephemeral Container")
            for field in _NOT_EPHEMERAL
            if container.get(field)
        ]
        if target and target not in {one["name"] for one in spec["containers"]}:
            errors.append(FieldError("FieldValueNotFound", f"{place}.targetContainerName", f'Not found: "{target}"'))
        if name in present and container != present[name]:
            errors.append(
                forbidden_field(f"spec.{_EPHEMERAL}", f'existing ephemeral containers "{name}" may not be changed')
            )
    kept = {container.get("name") for container in spec.get(_EPHEMERAL) or ()}
    errors += [
        forbidden_field(f"spec.{_EPHEMERAL}", f'existing ephemeral containers "{name}" may not be removed')
        for name in present
        if name not in kept
    ]
    return errors


def _validate_resize(spec: Manifest, before: Manifest) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("containers", "initContainers"):
        for index, (now, then) in enumerate(zip(spec.get(name) or (), before.get(name) or (), strict=True)):
            errors += validate_resources(now.get("resources") or {}, f"spec.{name}[{index}].resources")
            if _others(now) != _others(then):
                errors.append(forbidden_field("spec", "only cpu and memory resources are mutable"))
    if not errors and qos_class(spec) != (qos := qos_class(before)):
        errors.append(invalid_value("spec", qos, "Pod QOS Class may not change as a result of resizing"))
    return errors


def _others(container: Manifest) -> Manifest:
    resources = container.get("resources") or {}
    return {
        group: {name: value for name, value in (resources.get(group) or {}).items() if name not in _RESIZABLE}
        for group in ("limits", "requests")
    }
