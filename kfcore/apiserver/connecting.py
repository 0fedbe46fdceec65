"""What a request that opens a conversation with a pod, or is passed on to one, asks for, as admission sees it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from kfcore.api.meta import Manifest
from kfcore.apiserver.request import Request
from kfcore.apiserver.routes import Route

CONNECTED = frozenset({"attach", "exec", "portforward", "proxy"})
_FLAGS = ("stdin", "stdout", "stderr", "tty")


def connect_options(route: Route, request: Request) -> Manifest:
    served = route.kind.subresource(route.subresource)
    assert served is not None
    options: Manifest = {"kind": served.kind, "apiVersion": served.version}
    pairs = parse_qsl(request.raw_query, keep_blank_values=True)
    if route.subresource == "proxy":
        return options | ({"path": f"/{route.rest}"} if route.rest else {})
    if route.subresource == "portforward":
        ports = [text for name, value in pairs if name == "ports" for text in value.split(",")]
        return options | ({"ports": [int(port) for port in ports if port.isdigit()]} if ports else {})
    given: dict[str, Any] = {flag: True for flag in _FLAGS if request.query.get(flag, "") in ("1", "true")}
    if container := request.query.get("container"):
        given["container"] = container
    if route.subresource == "exec" and (command := [value for name, value in pairs if name == "command"]):
        given["command"] = command
    return options | given
