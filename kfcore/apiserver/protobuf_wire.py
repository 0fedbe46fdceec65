"""Protobuf's wire format: a message's fields, whatever they are called. What they mean is its readers' to know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_FIXED = {1: 8, 5: 4}


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """A message's fields as (number, value): an integer, or bytes for what has a length, of its own or fixed.

    Raises IndexError for a message that is cut off, TypeError for a wire type that there is not.
    """
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == 2:
            length, position = _varint(data, position)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise TypeError(f"wire type {wire}")
        if position + length > end:
            raise IndexError("a field is cut off")
        yield number, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError("an integer is too long")
