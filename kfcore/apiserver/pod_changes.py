"""`pods/NAME/ephemeralcontainers` and `pods/NAME/resize`: the two ways to change what a pod that exists is made of.
Each takes a pod, and sees one part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.pod_rules import validate_pod_spec
from kfcore.apiserver.pod_updates import EPHEMERAL, validate_added
from kfcore.apiserver.pods import default_container, qos_class
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value

_RESIZABLE = ("cpu", "memory")


def only(subresource: str, before: Manifest, wanted: Manifest) -> Manifest:
    """`before` with what `wanted` says of the subresource's part."""
    now, then = wanted.get("spec"), before["spec"]
    spec: Any = dict(then)
    if isinstance(now, dict) and subresource == "ephemeralcontainers":
        spec.pop(EPHEMERAL, None)
        if now.get(EPHEMERAL):
            spec[EPHEMERAL] = now[EPHEMERAL]
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
    for container in pod["spec"].get(EPHEMERAL) or ():
        default_container(container)


def validate_change(subresource: str, pod: Manifest, previous: Manifest) -> list[FieldError]:
    spec, before = pod["spec"], previous["spec"]
    errors = validate_pod_spec(spec, "spec", is_pod=True)
    if subresource == "ephemeralcontainers":
        return [*errors, *validate_added(spec, before)]
    return [*errors, *_validate_resize(spec, before)]


def _validate_resize(spec: Manifest, before: Manifest) -> Iterator[FieldError]:
    if qos_class(spec) != (qos := qos_class(before)):
        yield invalid_value("spec", qos, "Pod QOS Class may not change as a result of resizing")
    for name in ("initContainers", "containers"):
        for index, (now, then) in enumerate(zip(spec.get(name) or (), before.get(name) or (), strict=True)):
            what, lasting = "", name == "containers" or then.get("restartPolicy") == "Always"
            if lasting:
                yield from _validate_kept(now, then, f"spec.{name}[{index}].resources")
                what = "only cpu and memory resources are mutable" if _others(now) != _others(then) else ""
            elif now != then:
                what = "resources for non-sidecar init containers are immutable"
            if what and name == "initContainers" and lasting:
                what = "only cpu and memory resources for sidecar containers are mutable"
            if what:
                yield forbidden_field("spec", what)


def _validate_kept(now: Manifest, then: Manifest, place: str) -> Iterator[FieldError]:
    for group in ("requests", "limits"):
        held, wanted = ((one.get("resources") or {}).get(group) or {} for one in (then, now))
        if any(name not in wanted for name in held):
            yield forbidden_field(f"{place}.{group}", f"resource {group} cannot be removed")


def _others(container: Manifest) -> Manifest:
    """What of a container stays when it is resized."""
    resources = container.get("resources") or {}
    kept = {
        group: {name: value for name, value in (resources.get(group) or {}).items() if name not in _RESIZABLE}
        for group in ("limits", "requests")
    }
    return {**container, "resources": kept}
