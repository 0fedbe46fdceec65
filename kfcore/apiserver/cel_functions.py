"""The functions that Kubernetes adds to CEL: strings, lists, sets, quantities, versions, addresses and URLs.

Quantities, versions, addresses and URLs are maps with one entry, named after their type: CEL compares those as values.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cel_expr_python import cel

from kfcore.apiserver import cel_formats, quantities, semver
from kfcore.apiserver.cel_macros import NAMED, POSITIONS, PROBLEMS, TO_MAP

_VERSION = "kubernetes.Semver"
_AMOUNT, _ADDRESS, _NETWORK, _LINK = "kubernetes.Quantity", "net.IP", "net.CIDR", "kubernetes.URL"

_BOOL, _INT, _DOUBLE, _STRING, _ANY = (
    cel.Type.BOOL, cel.Type.INT, cel.Type.DOUBLE, cel.Type.STRING, cel.Type.DYN,
)  # fmt: skip
_LIST, _STRINGS = cel.Type.List(_ANY), cel.Type.List(_STRING)


def _is(parse: Callable[..., Any]) -> Callable[..., bool]:
    def check(*arguments: Any) -> bool:
        try:
            parse(*arguments)
        except ValueError:
            return False
        return True

    return check


# ── quantities ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _parse_quantity(text: str) -> Decimal:
    found = quantities.amount(text)
    if found is None:
        raise ValueError(quantities.EXPECTED)
    return found


def _quantity(amount: Decimal) -> dict[str, str]:
    return {_AMOUNT: f"{amount.normalize():f}"}


def _amount(value: Any) -> Decimal:
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    try:
        return Decimal(value[_AMOUNT])
    except (TypeError, KeyError, InvalidOperation) as error:
        raise ValueError("no such overload") from error


def _as_integer(value: Any) -> int:
    amount = _amount(value)
    if amount != amount.to_integral_value():
        raise ValueError("cannot convert value to integer")
    return int(amount)


def _compare(left: Any, right: Any) -> int:
    if isinstance(left, dict) and _VERSION in left:
        ours, theirs = _version(left).order, _version(right).order
        return (ours > theirs) - (ours < theirs)
    a, b = _amount(left), _amount(right)
    return (a > b) - (a < b)


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _address(value: Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(value[_ADDRESS] if isinstance(value, dict) else value)


def _network(value: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(value[_NETWORK] if isinstance(value, dict) else value, strict=False)


def _parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if "/" not in text:
        raise ValueError(f"CIDR {text!r} has no prefix length")
    return ipaddress.ip_network(text, strict=False)


def _cidr(text: str) -> dict[str, str]:
    """With the address as it is given, which need not be the network's first."""
    address, length = ipaddress.ip_address(text.partition("/")[0]), _parse_network(text).prefixlen
    return {_NETWORK: f"{address}/{length}"}


def _link_local(value: Any) -> bool:
    return _address(value).is_link_local


def _link_local_multicast(value: Any) -> bool:
    address = _address(value)
    if isinstance(address, ipaddress.IPv4Address):
        return address in ipaddress.ip_network("224.0.0.0/24")
    return address.is_multicast and address.packed[1] & 0x0F == 0x02


def _global_unicast(value: Any) -> bool:
    """As Go has it: private addresses are."""
    address = _address(value)
    other = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not other and str(address) != "255.255.255.255"


def _contains_network(outer: Any, inner: Any) -> bool:
    a, b = _network(outer), _network(inner)
    if isinstance(a, ipaddress.IPv4Network) and isinstance(b, ipaddress.IPv4Network):
        return b.subnet_of(a)
    return isinstance(a, ipaddress.IPv6Network) and isinstance(b, ipaddress.IPv6Network) and b.subnet_of(a)


# ── URLs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _parse_url(text: str) -> dict[str, str]:
    parts = urlsplit(text)
    if not parts.scheme and not text.startswith("/"):
        raise ValueError(f'parse "{text}": invalid URI for request')
    if not re.fullmatch("[0-9]*", port := _port_of(parts.netloc)):
        raise ValueError(f'parse "{text}": invalid port ":{port}" after host')
    return {_LINK: text}


def _port_of(netloc: str) -> str:
    return netloc.rpartition("@")[2].rpartition("]")[2].partition(":")[2]


def _host(value: Any) -> str:
    return str(urlsplit(value[_LINK]).netloc).rpartition("@")[2]


# ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _semver(text: str, normalize: bool = False) -> dict[str, str]:
    version = semver.parse(text, normalize=normalize)
    before = f"-{'.'.join(version.before)}" if version.before else ""
    return {_VERSION: f"{version.major}.{version.minor}.{version.patch}{before}"}


def _version(value: Any) -> semver.Version:
    if not isinstance(value, dict) or _VERSION not in value:
        raise ValueError("no such overload")
    return semver.parse(value[_VERSION])


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _last_index(items: list[Any], wanted: Any) -> int:
    return next((index for index in reversed(range(len(items))) if items[index] == wanted), -1)


def _extreme(choose: Callable[[list[Any]], Any], name: str) -> Callable[[list[Any]], Any]:
    def extreme(items: list[Any]) -> Any:
        if not items:
            raise ValueError(f"{name} called on empty list")
        return choose(items)

    return extreme


def _positions(of: Any) -> list[Any]:
    return list(of) if isinstance(of, dict) else list(range(len(of)))


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match[0] for match in re.finditer(pattern, text)]
    return found if limit < 0 else found[:limit]


def _method(name: str, result: cel.Type, *overloads: tuple[Callable[..., Any], list[cel.Type]]) -> cel.FunctionDecl:
    return cel.FunctionDecl(
        name,
        [
            cel.Overload(f"kubernetes_{name}_{number}", result, parameters, is_member=True, impl=function)
            for number, (function, parameters) in enumerate(overloads)
        ],
    )


def _function(name: str, result: cel.Type, function: Callable[..., Any], *parameters: cel.Type) -> cel.FunctionDecl:
    overload = cel.Overload(f"kubernetes_{name.replace('.', '_')}", result, list(parameters), impl=function)
    return cel.FunctionDecl(name, [overload])


def _overloaded(
    name: str, result: cel.Type, function: Callable[..., Any], *parameters: list[cel.Type]
) -> cel.FunctionDecl:
    overloads = [
        cel.Overload(f"kubernetes_{name}_{number}", result, list(types), impl=function)
        for number, types in enumerate(parameters)
    ]
    return cel.FunctionDecl(name, overloads)


def library() -> cel.CelExtension:
    """All of them, for a CEL environment."""
    return cel.CelExtension(
        "kubernetes",
        [
            _method("find", _STRING, (lambda text, pattern: (_find_all(text, pattern) or [""])[0], [_STRING, _STRING])),
            _method("findAll", _STRINGS, (_find_all, [_STRING, _STRING]), (_find_all, [_STRING, _STRING, _INT])),
            _method("isSorted", _BOOL, (lambda items: items == sorted(items), [_LIST])),
            _method("sum", _ANY, (sum, [_LIST])),
            _method("min", _ANY, (_extreme(min, "min"), [_LIST])),
            _method("max", _ANY, (_extreme(max, "max"), [_LIST])),
            _method("indexOf", _INT, (lambda items, item: items.index(item) if item in items else -1, [_LIST, _ANY])),
            _method("lastIndexOf", _INT, (_last_index, [_LIST, _ANY])),
            *(_function(f"format.{name}", _ANY, partial(cel_formats.named, name)) for name in cel_formats.NAMES),
            _function(NAMED, cel.Type.Map(_STRING, _STRING), cel_formats.named, _STRING),
            _function(PROBLEMS, _STRINGS, cel_formats.problems, _ANY, _STRING),
            _function(POSITIONS, _LIST, _positions, _ANY),
            _function(TO_MAP, _ANY, lambda keys, values: dict(zip(keys, values, strict=True)), _LIST, _LIST),
            _function("sets.contains", _BOOL, lambda a, b: all(item in a for item in b), _LIST, _LIST),
            _function("sets.intersects", _BOOL, lambda a, b: any(item in a for item in b), _LIST, _LIST),
            _function(
                "sets.equivalent",
                _BOOL,
                lambda a, b: all(item in a for item in b) and all(item in b for item in a),
                _LIST,
                _LIST,
            ),
            _function("isQuantity", _BOOL, _is(_parse_quantity), _STRING),
            _function("quantity", _ANY, lambda text: _quantity(_parse_quantity(text)), _STRING),
            _method("sign", _INT, (lambda value: _compare(value, 0), [_ANY])),
            _method("isInteger", _BOOL, (lambda value: _amount(value) == _amount(value).to_integral_value(), [_ANY])),
            _method("asInteger", _INT, (_as_integer, [_ANY])),
            _method("asApproximateFloat", _DOUBLE, (lambda value: float(_amount(value)), [_ANY])),
            _method("add", _ANY, (lambda a, b: _quantity(_amount(a) + _amount(b)), [_ANY, _ANY])),
            _method("sub", _ANY, (lambda a, b: _quantity(_amount(a) - _amount(b)), [_ANY, _ANY])),
            _method("isGreaterThan", _BOOL, (lambda a, b: _compare(a, b) > 0, [_ANY, _ANY])),
            _method("isLessThan", _BOOL, (lambda a, b: _compare(a, b) < 0, [_ANY, _ANY])),
            _method("compareTo", _INT, (_compare, [_ANY, _ANY])),
            _overloaded("isSemver", _BOOL, _is(_semver), [_STRING], [_STRING, _BOOL]),
            _overloaded("semver", _ANY, _semver, [_STRING], [_STRING, _BOOL]),
            _method("major", _INT, (lambda value: _version(value).major, [_ANY])),
            _method("minor", _INT, (lambda value: _version(value).minor, [_ANY])),
            _method("patch", _INT, (lambda value: _version(value).patch, [_ANY])),
            _function("isIP", _BOOL, _is(ipaddress.ip_address), _STRING),
            _function("ip", _ANY, lambda text: {_ADDRESS: str(ipaddress.ip_address(text))}, _STRING),
            _method("family", _INT, (lambda value: _address(value).version, [_ANY])),
            _method("isLoopback", _BOOL, (lambda value: _address(value).is_loopback, [_ANY])),
            _method("isUnspecified", _BOOL, (lambda value: _address(value).is_unspecified, [_ANY])),
            _method("isLinkLocalUnicast", _BOOL, (_link_local, [_ANY])),
            _method("isLinkLocalMulticast", _BOOL, (_link_local_multicast, [_ANY])),
            _method("isGlobalUnicast", _BOOL, (_global_unicast, [_ANY])),
            _function("ip.isCanonical", _BOOL, lambda text: str(ipaddress.ip_address(text)) == text, _STRING),
            _function("isCIDR", _BOOL, _is(_parse_network), _STRING),
            _function("cidr", _ANY, _cidr, _STRING),
            _method("containsIP", _BOOL, (lambda value, ip: _address(ip) in _network(value), [_ANY, _ANY])),
            _method("containsCIDR", _BOOL, (_contains_network, [_ANY, _ANY])),
            _method("ip", _ANY, (lambda value: {_ADDRESS: value[_NETWORK].partition("/")[0]}, [_ANY])),
            _method("masked", _ANY, (lambda value: {_NETWORK: str(_network(value))}, [_ANY])),
            _method("prefixLength", _INT, (lambda value: _network(value).prefixlen, [_ANY])),
            _function("isURL", _BOOL, _is(_parse_url), _STRING),
            _function("url", _ANY, _parse_url, _STRING),
            _method("getScheme", _STRING, (lambda value: urlsplit(value[_LINK]).scheme, [_ANY])),
            _method("getHost", _STRING, (_host, [_ANY])),
            _method("getHostname", _STRING, (lambda value: urlsplit(value[_LINK]).hostname or "", [_ANY])),
            _method("getPort", _STRING, (lambda value: _port_of(urlsplit(value[_LINK]).netloc), [_ANY])),
            _method("getEscapedPath", _STRING, (lambda value: urlsplit(value[_LINK]).path, [_ANY])),
            _method(
                "getQuery",
                cel.Type.Map(_STRING, _STRINGS),
                (lambda value: parse_qs(urlsplit(value[_LINK]).query, keep_blank_values=True), [_ANY]),
            ),
        ],
    )
