"""The `format` of strings in a CRD's schema: those that the real server checks. Others are documentation."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable
from datetime import date, datetime
from functools import partial
from typing import Any


def fits(name: str, value: str) -> bool:
    """Whether `value` has the format of that name; an unknown one fits everything."""
    check = _CHECKS.get(name)
    if check is None:
        return True
    try:
        check(value)
    except ValueError:
        return False
    return True


def _matches(pattern: str, value: str) -> None:
    if re.fullmatch(pattern, value) is None:
        raise ValueError(value)


_UUID = "[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?%s[0-9a-fA-F]{3}-?%s[0-9a-fA-F]{3}-?[0-9a-fA-F]{12}"
_LABEL = "[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
_UNITS = "ns|nano|us|µs|μs|micro|ms|milli|s|sec|second|m|min|minute|h|hr|hour|d|day|w|wk|week"
_EIGHTS = "([0-9a-fA-F]{2}[:-]){%d}[0-9a-fA-F]{2}"
_PATTERNS = {
    "bsonobjectid": "[0-9a-fA-F]{24}",
    "creditcard": r"[0-9]{4}([- ]?[0-9]{4}){2}[- ]?[0-9]{1,7}",
    "duration": rf"([0-9]+(\.[0-9]+)? ?({_UNITS})s? ?)+",
    "email": r"[^@\s<>]+@[^@\s<>]+|[^<>]*<[^@\s<>]+@[^@\s<>]+>",
    "hexcolor": "#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})",
    "hostname": rf"{_LABEL}(\.{_LABEL})*\.?",
    "isbn": "([0-9]-?){9}[0-9X]|([0-9]-?){13}",
    "isbn10": "([0-9]-?){9}[0-9X]",
    "isbn13": "([0-9]-?){13}",
    "mac": rf"{_EIGHTS % 5}|{_EIGHTS % 7}|([0-9a-fA-F]{{4}}\.){{2}}[0-9a-fA-F]{{4}}",
    "rgbcolor": r"rgb\( *[0-9]{1,3} *(, *[0-9]{1,3} *){2}\)",
    "ssn": r"[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}",
    "uri": r"[a-zA-Z][-+.a-zA-Z0-9]*:\S+|/\S*",
    "uuid": _UUID % ("[0-9a-fA-F]", "[0-9a-fA-F]"),
    "uuid3": _UUID % ("3", "[0-9a-fA-F]"),
    "uuid4": _UUID % ("4", "[89abAB]"),
    "uuid5": _UUID % ("5", "[89abAB]"),
}
_CHECKS: dict[str, Callable[[str], Any]] = {
    "date-time": datetime.fromisoformat,
    "date": date.fromisoformat,
    "byte": lambda text: base64.b64decode(text, validate=True),
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "cidr": ipaddress.ip_network,
    **{name: partial(_matches, pattern) for name, pattern in _PATTERNS.items()},
}
