"""Kubernetes quantities as numbers and back: `500m`, `1Gi`, `2e3`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, localcontext

QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]+))?")
"""Its groups are the number, the suffix and the decimal exponent; a quantity has one of the last two at most."""
DIGITS = 160
"""With how many digits quantities are worked with."""
_LARGEST_EXPONENT = 99
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
    match = QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a quantity: expected a number with a suffix such as m, Ki, Mi, Gi")
    number, suffix, exponent = match.groups(default="")
    with localcontext(prec=DIGITS):
        if exponent:
            power = min(max(int(exponent[:20]), -_LARGEST_EXPONENT), _LARGEST_EXPONENT)
            return Decimal(number).scaleb(power), ""
        return Decimal(number) * _SUFFIXES[suffix], suffix
