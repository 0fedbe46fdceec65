"""The syntax tree of a compiled CEL expression: read from the CheckedExpr message that the evaluator serializes.

Only what an estimate of costs needs: no types, no source positions.
"""

from __future__ import annotations

from dataclasses import dataclass

from kfcore.apiserver.protobuf_wire import fields

_EXPRESSION = 4
_STRING = 6
_CONSTANTS = {2: "bool", 3: "int", 4: "uint", 5: "double", 6: "string", 7: "bytes"}


@dataclass(frozen=True)
class Node:
    """`kind` is `const`, `ident`, `select`, `has`, `call`, `list`, `struct` or `loop`.

    `name` is an identifier, a field or a function. `parts` are a select's operand, a call's target (if any) and
    arguments, a list's items, a struct's keys and values, or a loop's range, initial value, condition, step and result.
    """

    kind: str
    name: str = ""
    parts: tuple[Node, ...] = ()
    member: bool = False
    variables: tuple[str, ...] = ()
    """Of a loop: what it calls an item, and what it gathers."""
    size: int | None = None
    """Of a constant that is text: its length. Its `name` is its type, empty for null."""


def parse(serialized: bytes) -> Node:
    message = b"".join(value for number, value in fields(serialized) if number == 2 and isinstance(value, bytes))
    return _node(_only(message, _EXPRESSION))


def _node(data: bytes) -> Node:
    for number, value in fields(data):
        if not isinstance(value, bytes):
            continue
        match number:
            case 3:
                return Node("const", _kind(value), size=_length(value))
            case 4:
                return Node("ident", _text(value, 1))
            case 5:
                tested = any(field == 3 and found for field, found in fields(value))
                return Node("has" if tested else "select", _text(value, 2), (_node(_only(value, 1)),))
            case 6:
                target, arguments = _all(value, 1), _all(value, 3)
                return Node("call", _text(value, 2), tuple(map(_node, target + arguments)), bool(target))
            case 7:
                return Node("list", parts=tuple(map(_node, _all(value, 1))))
            case 8:
                entries = [part for entry in _all(value, 2) for part in (*_all(entry, 3), *_all(entry, 4))]
                return Node("struct", parts=tuple(map(_node, entries)))
            case 9:
                parts = tuple(_node(_only(value, field)) for field in (2, 4, 5, 6, 7))
                return Node("loop", parts=parts, variables=(_text(value, 1), _text(value, 3)))
    return Node("const")


def _kind(constant: bytes) -> str:
    return _CONSTANTS.get(next((number for number, _ in fields(constant)), 0), "")


def _length(constant: bytes) -> int | None:
    for number, value in fields(constant):
        if isinstance(value, bytes):
            return len(value.decode()) if number == _STRING else len(value)
    return None


def _text(data: bytes, field: int) -> str:
    return _only(data, field).decode()


def _only(data: bytes, field: int) -> bytes:
    return next(iter(_all(data, field)), b"")


def _all(data: bytes, field: int) -> list[bytes]:
    return [value for number, value in fields(data) if number == field and isinstance(value, bytes)]
