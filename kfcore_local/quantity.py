"""Kubernetes quantities as numbers: `500m`, `1Gi`, `2e3`. For resource field references; nothing is enforced here."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}


def parse_quantity(text: str | int | float) -> Decimal:
    """Raises ValueError for what is not a quantity."""
    string = str(text).strip()
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if string.endswith(suffix):
            try:
                return Decimal(string.removesuffix(suffix)) * _SUFFIXES[suffix]
            except InvalidOperation:
                continue
    raise ValueError(f"{string!r} is not a quantity: expected a number with a suffix such as m, Ki, Mi, Gi")


def in_units(quantity: str | int | float, divisor: str | int) -> str:
    """How often the divisor fits, rounded up: the value of a resource field reference."""
    unit = parse_quantity(divisor or "1") or Decimal(1)
    return str(math.ceil(parse_quantity(quantity) / unit))
