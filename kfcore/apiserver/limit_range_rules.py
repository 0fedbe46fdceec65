"""The rules of LimitRanges: what they bound, and bounds that leave room. `limit_ranges.py` has them at work."""

from __future__ import annotations

from collections.abc import Iterator

from kfcore.api.meta import Manifest
from kfcore.apiserver.amounts import Amounts, amounts
from kfcore.apiserver.names import qualified_name
from kfcore.apiserver.resource_rules import container_resource_name, overcommits, resource_name
from kfcore.apiserver.status import FieldError, duplicate, forbidden_field, invalid_value, required

_TYPES = ("Container", "PersistentVolumeClaim", "Pod")
_GROUPS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
_ORDERS = (
    ("min", "max", "min", "min value {} is greater than max value {}"),
    ("min", "defaultRequest", "defaultRequest", "min value {} is greater than default request value {}"),
    ("defaultRequest", "max", "defaultRequest", "default request value {} is greater than max value {}"),
    ("defaultRequest", "default", "defaultRequest", "default request value {} is greater than default limit value {}"),
    ("min", "default", "default", "min value {} is greater than default value {}"),
    ("default", "max", "default", "default value {} is greater than max value {}"),
)
"""What is no more than what: the two, whose fault it is, and the words for it."""


def validate_limit_range(limit_range: Manifest, previous: Manifest | None) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, item in enumerate((limit_range.get("spec") or {}).get("limits") or ()):
        place, kind = f"spec.limits[{index}]", item.get("type") or ""
        problems = qualified_name(kind)
        errors += [invalid_value(f"{place}.type", kind, why) for why in problems]
        if not problems and "/" not in kind and kind not in _TYPES:
            why = "must be a standard limit type or fully qualified"
            errors.append(invalid_value(f"{place}.type", kind, why))
        if kind in seen:
            errors.append(duplicate(f"{place}.type", kind))
        seen.add(kind)
        errors += _validate_item(item, kind, place)
    return errors


def _validate_item(item: Manifest, kind: str, place: str) -> Iterator[FieldError]:
    names = container_resource_name if kind in ("Container", "Pod") else resource_name
    groups = {group: item.get(group) or {} for group in _GROUPS}
    if kind == "Pod":
        for group in ("default", "defaultRequest"):
            if groups.pop(group):
                yield forbidden_field(f"{place}.{group}", "may not be specified when `type` is 'Pod'")
    for group, quantities in groups.items():
        for name in quantities:
            yield from names(name, f"{place}.{group}[{name}]")
    if kind == "PersistentVolumeClaim" and not any("storage" in groups[group] for group in ("min", "max")):
        why = "either minimum or maximum storage value is required, but neither was provided"
        yield required(f"{place}.limits", why)
    sizes = {group: amounts(quantities) for group, quantities in groups.items()}
    yield from _validate_order(sizes, groups, place)


def _validate_order(sizes: dict[str, Amounts], said: dict[str, Manifest], place: str) -> Iterator[FieldError]:
    for less, more, fault, words in _ORDERS:
        for name, size in sizes.get(less, {}).items():
            if name in sizes.get(more, {}) and size > sizes[more][name]:
                why = words.format(said[less][name], said[more][name])
                yield invalid_value(f"{place}.{fault}[{name}]", said[fault][name], why)
    for name, ratio in sizes["maxLimitRequestRatio"].items():
        shown, where = said["maxLimitRequestRatio"][name], f"{place}.maxLimitRequestRatio[{name}]"
        if ratio < 1:
            yield invalid_value(where, shown, f"ratio {shown} is less than 1")
        least, most = sizes["min"].get(name), sizes["max"].get(name)
        if least and most is not None and ratio > most / least:
            yield invalid_value(where, shown, f"ratio {shown} is greater than max/min = {most / least:.6f}")
    for name, size in sizes.get("default", {}).items():
        asked = sizes["defaultRequest"].get(name)
        if not overcommits(name) and asked is not None and asked != size:
            default, request = said["default"][name], said["defaultRequest"][name]
            why = f"default value {default} must equal to defaultRequest value {request} in {name}"
            yield invalid_value(f"{place}.defaultRequest[{name}]", request, why)
