"""The rules of probes and lifecycle hooks: what they do, and how often."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.ports import number_or_name
from kfcore.apiserver.resource_rules import NOT_NEGATIVE
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, required, unsupported

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
HOOKS = ("postStart", "preStop")
_OF_PROBES = ("exec", "httpGet", "tcpSocket", "grpc")
_OF_HOOKS = ("exec", "httpGet", "tcpSocket", "sleep")
_COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_SCHEMES = ("HTTP", "HTTPS")
_HEADER = re.compile(r"[-A-Za-z0-9]+")


def validate_probe(probe: Manifest, place: str, name: str) -> Iterator[FieldError]:
    yield from _validate_handler(probe, _OF_PROBES, place, None)
    for field in _COUNTS:
        if isinstance(value := probe.get(field), int) and value < 0:
            yield invalid_value(f"{place}.{field}", value, NOT_NEGATIVE)
    grace = probe.get("terminationGracePeriodSeconds")
    if isinstance(grace, int) and grace <= 0:
        yield invalid_value(f"{place}.terminationGracePeriodSeconds", grace, "must be greater than 0")
    if name == "readinessProbe":
        if grace is not None:
            why = "must not be set for readinessProbes"
            yield invalid_value(f"{place}.terminationGracePeriodSeconds", grace, why)
    elif probe.get("successThreshold", 1) != 1:
        yield invalid_value(f"{place}.successThreshold", probe["successThreshold"], "must be 1")


def validate_lifecycle(lifecycle: Manifest, place: str, grace: Any) -> Iterator[FieldError]:
    """`grace`: the seconds that the pod has to end."""
    for hook in HOOKS:
        if (handler := lifecycle.get(hook)) is not None:
            yield from _validate_handler(handler, _OF_HOOKS, f"{place}.{hook}", grace)


def _validate_handler(handler: Manifest, kinds: tuple[str, ...], place: str, grace: Any) -> Iterator[FieldError]:
    found = [kind for kind in kinds if handler.get(kind) is not None]
    if not found:
        yield required(place, "must specify a handler type")
        return
    yield from _validate_action(found[0], handler[found[0]], f"{place}.{found[0]}", grace)
    for extra in found[1:]:
        yield forbidden_field(f"{place}.{extra}", "may not specify more than 1 handler type")


def _validate_action(kind: str, action: Manifest, place: str, grace: Any) -> Iterator[FieldError]:
    match kind:
        case "exec":
            if not action.get("command"):
                yield required(f"{place}.command")
        case "httpGet":
            yield from number_or_name(action.get("port"), f"{place}.port")
            if (scheme := action.get("scheme")) not in _SCHEMES:
                yield unsupported(f"{place}.scheme", scheme, _SCHEMES)
            for header in action.get("httpHeaders") or ():
                name = header.get("name") or ""
                if not _HEADER.fullmatch(name):
                    why = (
                        "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', "
                        "regex used for validation is '[-A-Za-z0-9]+')"
                    )
                    yield invalid_value(f"{place}.httpHeaders", name, why)
        case "tcpSocket" | "grpc":
            yield from number_or_name(action.get("port"), f"{place}.port")
        case "sleep":
            seconds = action.get("seconds") or 0
            if isinstance(grace, int) and not 0 <= seconds <= grace:
                why = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                yield invalid_value(place, seconds, why)
