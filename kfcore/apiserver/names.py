"""The rules for names, labels and annotations, each with the words that the real server refuses with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_QUALIFIED})?"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"

_label = re.compile(_LABEL).fullmatch
_label_1035 = re.compile(_LABEL_1035).fullmatch
_subdomain = re.compile(_SUBDOMAIN).fullmatch
_qualified = re.compile(_QUALIFIED).fullmatch
_value = re.compile(_VALUE).fullmatch
_config_key = re.compile(_CONFIG_KEY).fullmatch


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} bytes"


def dns_label(name: str) -> str | None:
    """Why `name` is not an RFC 1123 label, or None."""
    if len(name) > 63:
        return _too_long(63)
    if not _label(name):
        return (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
            "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
            f"'{_LABEL}')"
        )
    return None


def dns_label_1035(name: str) -> str | None:
    if len(name) > 63:
        return _too_long(63)
    if not _label_1035(name):
        return (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
            f"validation is '{_LABEL_1035}')"
        )
    return None


def dns_subdomain(name: str) -> str | None:
    if len(name) > 253:
        return _too_long(253)
    if not _subdomain(name):
        return (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
            rf"'{_LABEL}(\.{_LABEL})*')"
        )
    return None


def path_segment(name: str) -> str | None:
    """RBAC's names: anything that is one segment of a path."""
    if name in {".", ".."}:
        return f"may not be '{name}'"
    for character in "/%":
        if character in name:
            return f"may not contain '{character}'"
    return None


@lru_cache(maxsize=1024)
def qualified_name(key: str) -> tuple[str, ...]:
    """Why `key` is not a label or annotation key or finalizer (`[prefix/]name`); empty when it is."""
    prefix, slash, name = key.rpartition("/")
    problems = []
    if "/" in prefix:
        return (
            "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            f"alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            f"'{_QUALIFIED}') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        )
    if slash:
        if not prefix:
            problems.append("prefix part must be non-empty")
        elif why := dns_subdomain(prefix):
            problems.append(f"prefix part {why}")
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append(f"name part {_too_long(63)}")
    if not _qualified(name):
        problems.append(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            f"'{_QUALIFIED}')"
        )
    return tuple(problems)


def label_value(value: str) -> list[str]:
    problems = []
    if len(value) > 63:
        problems.append(_too_long(63))
    if not _value(value):
        problems.append(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
            f"validation is '{_VALUE}')"
        )
    return problems


def config_key(key: str) -> Iterator[str]:
    """Why `key` is not one of a ConfigMap or Secret."""
    if len(key) > 253:
        yield "must be no more than 253 characters"
    if not _config_key(key):
        yield (
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
            f"'KEY_NAME',  or 'key-name', regex used for validation is '{_CONFIG_KEY}')"
        )
    elif key in (".", "..") or key.startswith(".."):
        yield f"must not be '{key}'" if key in (".", "..") else "must not start with '..'"
