"""Quantities that are added up and compared, and written as the real server writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.api.quantity import parse_quantity

Amounts = dict[str, Decimal]
_BINARY = ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki")
_DECIMAL = ("E", "P", "T", "G", "M", "k")
_BINARY_RESOURCES = ("memory", "storage", "hugepages")


def amounts(quantities: Any) -> Amounts:
    """A resource list (`{"cpu": "500m"}`) as numbers; what is not a quantity counts for nothing."""
    found: Amounts = {}
    for name, quantity in (quantities or {}).items():
        try:
            found[name] = parse_quantity(quantity)
        except ValueError:
            continue
    return found


def add(total: Amounts, more: Mapping[str, Decimal]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, Decimal(0)) + amount


def largest(total: Amounts, more: Mapping[str, Decimal]) -> None:
    for name, amount in more.items():
        total[name] = max(total.get(name, Decimal(0)), amount)


def of_containers(spec: Manifest, group: str) -> Amounts:
    """What a pod needs (`requests`) or may take (`limits`): its containers together, and no less than one of its init
    containers; those that go on beside the containers count with them.
    """
    total: Amounts = {}
    alone: Amounts = {}
    beside: Amounts = {}
    for container in spec.get("initContainers") or ():
        needs = amounts((container.get("resources") or {}).get(group))
        if container.get("restartPolicy") == "Always":
            add(beside, needs)
            largest(alone, beside)
        else:
            step = dict(beside)
            add(step, needs)
            largest(alone, step)
    for container in spec.get("containers") or ():
        add(total, amounts((container.get("resources") or {}).get(group)))
    add(total, beside)
    largest(total, alone)
    return total


def text(name: str, amount: Decimal) -> str:
    """An amount of a resource in its canonical form: the largest unit that needs no fraction."""
    if any(part in name for part in _BINARY_RESOURCES):
        units = [(suffix, Decimal(1024) ** (6 - index)) for index, suffix in enumerate(_BINARY)]
    else:
        units = [(suffix, Decimal(1000) ** (6 - index)) for index, suffix in enumerate(_DECIMAL)]
    for suffix, unit in (*units, ("", Decimal(1)), ("m", Decimal("0.001")), ("u", Decimal("0.000001"))):
        count = amount / unit
        if count == count.to_integral_value() and (count or not suffix):
            return f"{int(count)}{suffix}"
    return f"{int(amount * 10**9)}n"


def listed(found: Mapping[str, Decimal], names: Iterable[str]) -> str:
    """Some amounts as messages show them: `cpu=2,pods=10`."""
    return ",".join(f"{name}={text(name, found.get(name, Decimal(0)))}" for name in sorted(names))
