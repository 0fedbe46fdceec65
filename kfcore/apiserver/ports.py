"""The rules of port numbers and names, of containers, services and probes alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kfcore.apiserver.status import FieldError, invalid_value

RANGE = "must be between 1 and 65535, inclusive"
PROTOCOLS = ("SCTP", "TCP", "UDP")


def is_port(number: Any) -> bool:
    return isinstance(number, int) and 0 < number < 65536


def port_name(name: str) -> Iterator[str]:
    """Why `name` is not an IANA service name."""
    if len(name) > 15:
        yield "must be no more than 15 characters"
    if not re.fullmatch(r"[-a-z0-9]*", name):
        yield "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if not re.search(r"[a-z]", name):
        yield "must contain at least one letter (a-z)"
    if "--" in name:
        yield "must not contain consecutive hyphens"
    if name.startswith("-") or name.endswith("-"):
        yield "must not begin or end with a hyphen"


def number_or_name(port: Any, place: str) -> Iterator[FieldError]:
    if isinstance(port, str):
        yield from (invalid_value(place, port, why) for why in port_name(port))
    elif not is_port(port or 0):
        yield invalid_value(place, port or 0, RANGE)
