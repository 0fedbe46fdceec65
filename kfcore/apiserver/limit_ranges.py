"""LimitRanges at work: what containers are given that say nothing, and what is refused because it says too much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.amounts import Amounts, amounts, of_containers, text

ANNOTATION = "kubernetes.io/limit-ranger"
_CONTAINER_LISTS = ("containers", "initContainers")


def default_limit_range(limit_range: Manifest) -> None:
    """What containers get when a LimitRange says only how much there may be."""
    for item in (limit_range.get("spec") or {}).get("limits") or ():
        if item.get("type") != "Container":
            continue
        default, request = dict(item.get("default") or {}), dict(item.get("defaultRequest") or {})
        for name, quantity in (item.get("max") or {}).items():
            default.setdefault(name, quantity)
        for name, quantity in default.items():
            request.setdefault(name, quantity)
        for name, quantity in (item.get("min") or {}).items():
            request.setdefault(name, quantity)
        if default:
            item["default"] = default
        if request:
            item["defaultRequest"] = request


def give_defaults(pod: Manifest, limit_ranges: Iterable[Manifest]) -> None:
    """Fill in, in place, requests and limits of containers; an annotation says which."""
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return
    given: list[str] = []
    for item in _items(limit_ranges, "Container"):
        for list_name in _CONTAINER_LISTS:
            what = "container" if list_name == "containers" else "init container"
            for container in spec.get(list_name) or ():
                resources = container.setdefault("resources", {})
                limited = dict(resources.get("limits") or {})
                for group, source in (("limits", "default"), ("requests", "defaultRequest")):
                    present = resources.get(group) or {}
                    # A limit alone is a request, too: it is filled in before this looks.
                    known = {**limited, **present} if group == "requests" else present
                    missing = {name: value for name, value in (item.get(source) or {}).items() if name not in known}
                    if missing:
                        resources[group] = {**present, **missing}
                        noun = "request" if group == "requests" else "limit"
                        given.append(f"{', '.join(sorted(missing))} {noun} for {what} {container.get('name', '')}")
                for name, quantity in limited.items():
                    resources.setdefault("requests", {}).setdefault(name, quantity)
    if given:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations[ANNOTATION] = "LimitRanger plugin set: " + "; ".join(sorted(given, key=_requests_first))


def _requests_first(said: str) -> bool:
    return " request for " not in said


def problems(manifest: Manifest, limit_ranges: Iterable[Manifest]) -> list[str]:
    """What a pod or claim asks for and may not have."""
    spec: Any = manifest.get("spec") or {}
    found: list[str] = []
    if manifest["kind"] == "PersistentVolumeClaim":
        for item in _items(limit_ranges, "PersistentVolumeClaim"):
            requests = amounts((spec.get("resources") or {}).get("requests"))
            found += _beyond(item, "PersistentVolumeClaim", requests, {})
        return found
    ranges = list(limit_ranges)
    for item in _items(ranges, "Container"):
        for list_name in _CONTAINER_LISTS:
            for container in spec.get(list_name) or ():
                resources = container.get("resources") or {}
                found += _beyond(
                    item, "Container", amounts(resources.get("requests")), amounts(resources.get("limits"))
                )
    for item in _items(ranges, "Pod"):
        found += _beyond(item, "Pod", of_containers(spec, "requests"), of_containers(spec, "limits"))
    return found


def _items(limit_ranges: Iterable[Manifest], kind: str) -> Iterator[Manifest]:
    for limit_range in limit_ranges:
        for item in (limit_range.get("spec") or {}).get("limits") or ():
            if item.get("type") == kind:
                yield item


def _beyond(item: Manifest, kind: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, least in amounts(item.get("min")).items():
        what = f"minimum {name} usage per {kind} is {text(name, least)}"
        if name not in requests:
            yield f"{what}.  No request is specified"
        elif requests[name] < least:
            yield f"{what}, but request is {text(name, requests[name])}"
        elif name in limits and limits[name] < least:
            yield f"{what}, but limit is {text(name, limits[name])}"
    for name, most in amounts(item.get("max")).items():
        what = f"maximum {name} usage per {kind} is {text(name, most)}"
        if kind == "PersistentVolumeClaim":
            if name in requests and requests[name] > most:
                yield f"{what}, but request is {text(name, requests[name])}"
        elif name not in limits:
            yield f"{what}.  No limit is specified"
        elif limits[name] > most:
            yield f"{what}, but limit is {text(name, limits[name])}"
        elif requests.get(name, Decimal(0)) > most:
            yield f"{what}, but request is {text(name, requests[name])}"
    for name, ratio in amounts(item.get("maxLimitRequestRatio")).items():
        what = f"{name} max limit to request ratio per {kind} is {text(name, ratio)}"
        if not requests.get(name):
            yield f"{what}, but no request is specified or request is 0."
        elif not limits.get(name):
            yield f"{what}, but no limit is specified or limit is 0."
        elif (provided := limits[name] / requests[name]) > ratio:
            yield f"{what}, but provided ratio is {provided:.6f}"
