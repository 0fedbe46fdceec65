"""CEL's macros with two variables (`list.all(index, value, …)`, `map.transformMap(key, value, …)`) and calls that give
an optional value, which the evaluator does not have: written in what it has, before it compiles an expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count

_MACRO = re.compile(
    r"\.\s*(?P<name>all|exists|exists_one|existsOne|transformList|transformMap)\s*\(\s*(?P<key>[A-Za-z_]\w*)\s*,"
    r"\s*(?P<value>[A-Za-z_]\w*)\s*,"
)
_CLOSING = {")": "(", "]": "[", "}": "{"}
_OPTIONAL = re.compile(r"\.\s*(?P<name>validate|named)\s*\(")
POSITIONS, TO_MAP = "__positions", "__toMap"
PROBLEMS, NAMED = "__formatProblems", "__formatNamed"
"""Functions of `cel_functions.py`: a list's indices or a map's keys; a map of keys and values."""


def one_variable(text: str, blank: Callable[[str], str]) -> str:
    """`text` without macros of two variables. `blank` blanks string literals, in place."""
    for number in count():
        blanked = blank(text)
        found = _MACRO.search(blanked)
        if found is None:
            return text
        begin = _target(blanked, found.start())
        arguments, end = _arguments(blanked, text, found.end())
        target = text[begin : found.start()].strip()
        made = _written(found["name"], f"__of{number}", found["key"], found["value"], arguments) if target else None
        if made is None:
            return text  # whatever it is, the compiler will say
        text = f"{text[:begin]}cel.bind(__of{number}, {target}, {made}){text[end:]}"
    raise AssertionError("counting does not end")


def with_optionals(text: str, blank: Callable[[str], str]) -> str:
    """`text` without the calls of formats: what they find is absent where it is empty."""
    for number in count():
        blanked = blank(text)
        found = _OPTIONAL.search(blanked)
        if found is None:
            return text
        begin = _target(blanked, found.start())
        arguments, end = _arguments(blanked, text, found.end())
        target = text[begin : found.start()].strip()
        if len(arguments) != 1 or not target or (found["name"] == "named" and target != "format"):
            return text
        call = f"{NAMED}({arguments[0]})" if found["name"] == "named" else f"{PROBLEMS}({target}, {arguments[0]})"
        name = f"__found{number}"
        optional = f"{name}.size() == 0 ? optional.none() : optional.of({name})"
        text = f"{text[:begin]}cel.bind({name}, {call}, {optional}){text[end:]}"
    raise AssertionError("counting does not end")


def _written(name: str, target: str, key: str, value: str, arguments: list[str]) -> str | None:
    """The macro about `target`, a variable; None for one of another number of arguments."""

    def bound(expression: str) -> str:
        return f"cel.bind({value}, {target}[{key}], {expression})"

    positions = f"{POSITIONS}({target})"
    match name, arguments:
        case "all" | "exists" | "exists_one" | "existsOne", [condition]:
            return f"{positions}.{name.replace('existsOne', 'exists_one')}({key}, {bound(condition)})"
        case "transformList" | "transformMap", [*conditions, made] if len(conditions) < 2:
            chosen = positions
            for condition in conditions:
                chosen = f"{chosen}.filter({key}, {bound(condition)})"
            values = f"{chosen}.map({key}, {bound(made)})"
            return values if name == "transformList" else f"{TO_MAP}({chosen}, {values})"
    return None


def _target(text: str, end: int) -> int:
    """Where the expression begins that a macro is called on, which ends before `end`."""
    position = end
    while True:
        while position and text[position - 1].isspace():
            position -= 1
        if not position:
            return 0
        character = text[position - 1]
        if character in _CLOSING:
            position = _opening(text, position - 1)
            if position and (text[position - 1].isalnum() or text[position - 1] in "_)]"):
                continue
        elif character.isalnum() or character == "_":
            while position and (text[position - 1].isalnum() or text[position - 1] == "_"):
                position -= 1
        else:
            return position
        before = text[:position].rstrip("?").rstrip()
        if not before.endswith("."):
            return position
        position = len(before) - 1


def _opening(text: str, position: int) -> int:
    """Where the bracket is that the one at `position` closes."""
    depth = 0
    for index in range(position, -1, -1):
        if text[index] in _CLOSING:
            depth += 1
        elif text[index] in "([{":
            depth -= 1
            if not depth:
                return index
    return 0


def _arguments(blanked: str, text: str, begin: int) -> tuple[list[str], int]:
    """The arguments of a call from `begin` on, and where the call ends; none for one that does not end."""
    arguments, depth = [], 0
    for index in range(begin, len(blanked)):
        character = blanked[index]
        if character in "([{":
            depth += 1
        elif character in _CLOSING and depth:
            depth -= 1
        elif character == ")" or (character == "," and not depth):
            arguments.append(text[begin:index].strip())
            begin = index + 1
            if character == ")":
                return arguments, index + 1
    return [], len(text)
