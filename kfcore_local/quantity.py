"""How often one quantity fits into another, for resource field references; nothing is enforced here."""

from __future__ import annotations

import math
from decimal import Decimal

from kfcore.api.quantity import parse_quantity


def in_units(quantity: str | int | float, divisor: str | int) -> str:
    """How often the divisor fits, rounded up: the value of a resource field reference."""
    unit = parse_quantity(divisor or "1") or Decimal(1)
    return str(math.ceil(parse_quantity(quantity) / unit))
