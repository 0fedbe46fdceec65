"""Quantities in the form in which the server keeps them: `0.5` becomes `500m`, `1024Mi` becomes `1Gi`."""

from __future__ import annotations

from decimal import ROUND_UP, Decimal, localcontext
from functools import lru_cache

from kfcore.api.quantity import DIGITS, QUANTITY, parse_quantity

EXPECTED = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
"""What is said to what is not a quantity."""

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BY_EXPONENT = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_MOST_DIGITS = 18
_LARGEST = Decimal(2**63 - 1)
"""What is written with more digits than an int64 has is no larger than one."""


@lru_cache(maxsize=4096)
def amount(text: str) -> Decimal | None:
    """A quantity as a number; None for what is not a quantity."""
    try:
        return parse_quantity(text)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def canonical(text: str, *, smallest: int = -9) -> str:
    """A quantity with the largest unit of its kind that needs no fraction, rounded up to 10^`smallest`.

    Raises ValueError for what is not a quantity.
    """
    text = text.strip()
    match, value = QUANTITY.fullmatch(text), amount(text)
    if match is None or value is None:
        raise ValueError(EXPECTED)
    with localcontext(prec=DIGITS):
        if len(match[1]) > _MOST_DIGITS:
            value = max(min(value, _LARGEST), -_LARGEST)
        value = value.quantize(Decimal(1).scaleb(smallest), rounding=ROUND_UP)
        if not value:
            return "0"
        whole = value == value.to_integral_value()
        if (match[2] or "") in _BINARY[1:] and whole and abs(value) >= 1024:
            return _in_powers_of_1024(int(value))
        return _in_powers_of_1000(value, scientific=match[3] is not None)


def _in_powers_of_1024(value: int) -> str:
    power = 0
    while value % 1024 == 0 and power < len(_BINARY) - 1:
        value, power = value // 1024, power + 1
    return f"{value}{_BINARY[power]}"


def _in_powers_of_1000(value: Decimal, *, scientific: bool) -> str:
    exponent = int(value.normalize().as_tuple().exponent)
    exponent -= exponent % 3
    if not scientific:
        exponent = min(exponent, _DECIMAL["E"])
    number = int(value.scaleb(-exponent))
    if scientific:
        return f"{number}e{exponent}" if exponent else str(number)
    return f"{number}{_BY_EXPONENT[exponent]}"
