"""The rules of file paths and of IP addresses in objects, in the server's words."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from kfcore.apiserver.status import FieldError, invalid_value

_SPECIAL = (
    ("is_unspecified", "may not be unspecified (0.0.0.0 or ::)"),
    ("is_loopback", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
    ("is_link_local", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
)
_NOT_AN_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def inside(path: str, place: str) -> Iterator[FieldError]:
    """A path that leads from where it starts downwards."""
    if path.startswith("/"):
        yield invalid_value(place, path, "must be a relative path")
    yield from without_steps_back(path, place)


def own(path: str, place: str) -> Iterator[FieldError]:
    """A path inside that is nobody else's: what begins with `..` is the kubelet's."""
    yield from inside(path, place)
    if path.startswith("..") and not path.startswith("../"):
        yield invalid_value(place, path, "must not start with '..'")


def without_steps_back(path: str, place: str) -> Iterator[FieldError]:
    if ".." in path.split("/"):
        yield invalid_value(place, path, "must not contain '..'")


def ordinary(text: str, place: str, *, loopback: bool = False) -> Iterator[FieldError]:
    """An address that has a meaning to others. `loopback`: or is one of this machine's own, as those of local pods."""
    found = ipaddress.ip_address(text)
    for property_name, why in _SPECIAL:
        if getattr(found, property_name) and not (loopback and found.is_loopback):
            yield invalid_value(place, text, why)


def address(text: str, place: str) -> Iterator[FieldError]:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        yield invalid_value(place, text, _NOT_AN_ADDRESS)
