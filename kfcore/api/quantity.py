"""Kubernetes quantities as numbers and back: `500m`, `1Gi`, `2e3`."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}
_LONGEST_FIRST = sorted(_SUFFIXES, key=len, reverse=True)


def parse_quantity(text: str | int | float) -> Decimal:
    """Raises ValueError for what is not a quantity."""
    return _parse(text)[0]


def add_quantities(quantities: Iterable[str | int | float]) -> str:
    """Their sum, in the unit of the first where it fits: `512Mi` and `1Gi` are `1536Mi`.

    Raises ValueError for what is not a quantity.
    """
    parsed = [_parse(quantity) for quantity in quantities]
    total = sum((value for value, _ in parsed), Decimal(0))
    for suffix in (parsed[0][1] if parsed else "", "", "m", "u", "n"):
        count = total / _SUFFIXES[suffix]
        if count == count.to_integral_value():
            return f"{int(count)}{suffix}"
    return f"{total:f}"


def _parse(text: str | int | float) -> tuple[Decimal, str]:
    string = str(text).strip()
    for suffix in _LONGEST_FIRST:
        if string.endswith(suffix):
            try:
                return Decimal(string.removesuffix(suffix)) * _SUFFIXES[suffix], suffix
            except InvalidOperation:
                continue
    raise ValueError(f"{string!r} is not a quantity: expected a number with a suffix such as m, Ki, Mi, Gi")
