"""Kubernetes' named formats in CEL (`format.dns1123Label().validate(text)`): what is wrong with a text, if anything.

An optional value is not a function's to give: `cel_macros.py` writes both calls in terms of the functions here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from kfcore.apiserver.names import dns_label, dns_label_1035, dns_subdomain, label_value, qualified_name
from kfcore.apiserver.string_formats import fits

FORMAT = "kubernetes.NamedFormat"


def _one(check: Callable[[str], str | None], *, prefix: bool = False) -> Callable[[str], Iterable[str]]:
    def problems(text: str) -> list[str]:
        whole = f"{text[:-1]}a" if prefix and len(text) > 1 and text.endswith("-") else text
        why = check(whole)
        return [why] if why else []

    return problems


def _fits(name: str, why: str) -> Callable[[str], Iterable[str]]:
    return lambda text: () if fits(name, text) else (why,)


def _uri(text: str) -> list[str]:
    try:
        found = bool(text) and (bool(urlsplit(text).scheme) or text.startswith("/"))
    except ValueError:
        found = False
    return [] if found else [f'parse "{text}": invalid URI for request']


_FORMATS: dict[str, Callable[[str], Iterable[str]]] = {
    "dns1123Label": _one(dns_label),
    "dns1123Subdomain": _one(dns_subdomain),
    "dns1035Label": _one(dns_label_1035),
    "dns1123LabelPrefix": _one(dns_label, prefix=True),
    "dns1123SubdomainPrefix": _one(dns_subdomain, prefix=True),
    "dns1035LabelPrefix": _one(dns_label_1035, prefix=True),
    "qualifiedName": qualified_name,
    "labelValue": label_value,
    "uri": _uri,
    "uuid": _fits("uuid", "does not match the UUID format"),
    "byte": _fits("byte", "invalid base64"),
    "date": _fits("date", "invalid date"),
    "datetime": _fits("date-time", "invalid datetime"),
}
NAMES = tuple(_FORMATS)


def named(name: str) -> dict[str, str]:
    """A format; empty where there is none of the name."""
    return {FORMAT: name} if name in _FORMATS else {}


def problems(format_: Any, text: str) -> list[str]:
    """Why a text does not have a format; empty when it does."""
    if not isinstance(format_, dict) or FORMAT not in format_:
        raise ValueError("no such overload")
    return list(_FORMATS[format_[FORMAT]](text))
