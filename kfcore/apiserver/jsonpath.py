"""The JSONPath of kubectl and of printer columns: a template becomes a function from a document to the values it finds.

Missing keys find nothing; only a malformed path is an error.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

Finder = Callable[[Any], list[Any]]
Step = Callable[[Any], Iterable[Any]]

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_NAME = re.compile(r"(?:\\.|[^.\[\]\\\s])+")
_SLICE = re.compile(r"\s*(-?\d*)\s*(?::\s*(-?\d*)\s*)?(?::\s*(\d*)\s*)?$")
_FILTER = re.compile(r"\?\(\s*(.*?)\s*\)$", re.S)
_COMPARISON = re.compile(r"(.*?)\s*(==|!=|<=|>=|<|>)\s*(.*)$", re.S)


class JsonPathError(ValueError):
    """The text is not a JSONPath."""


@lru_cache(maxsize=512)
def compile_path(path: str) -> Finder:
    """The finder of `path` (`.spec.replicas`, `{.items[*].name}`, `.conditions[?(@.type=="Ready")].status`).

    Raises JsonPathError for a path that is malformed.
    """
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    steps = tuple(_steps(text.removeprefix("$"), path))

    def find(document: Any) -> list[Any]:
        values: list[Any] = [document]
        for step in steps:
            values = [found for value in values for found in step(value)]
        return values

    return find


def _steps(text: str, path: str) -> Iterator[Step]:
    position = 0
    while position < len(text):
        if text[position] == "[":
            end = _closing(text, position, path)
            yield _bracket(text[position + 1 : end], path)
            position = end + 1
            continue
        recursive = text.startswith("..", position)
        if recursive:
            yield _descend
        position += 2 if recursive else text[position] == "."
        if position < len(text) and text[position] == "[":
            continue
        match = _NAME.match(text, position)
        if match is None:
            if position >= len(text) and not recursive:
                return  # "." alone, or a trailing dot: the document itself
            raise JsonPathError(f"{path!r} is not a JSONPath: expected a field name at position {position}")
        name = re.sub(r"\\(.)", r"\1", match[0])
        yield _children if name == "*" else _field(name)
        position = match.end()


def _closing(text: str, start: int, path: str) -> int:
    depth, quote = 0, ""
    for index in range(start, len(text)):
        character = text[index]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[(":
            depth += 1
        elif character in "])":
            depth -= 1
            if depth == 0:
                return index
    raise JsonPathError(f"{path!r} is not a JSONPath: a bracket is not closed")


def _bracket(text: str, path: str) -> Step:
    text = text.strip()
    if text == "*":
        return _children
    if match := _FILTER.match(text):
        return _filter(match[1], path)
    if text[:1] in ("'", '"') and len(text) >= 2 and text[-1] == text[0]:
        return _field(text[1:-1])
    if match := _SLICE.match(text):
        if ":" not in text and match[1] not in ("", "-"):
            return _index(int(match[1]))
        if ":" in text:
            start, stop, step = (int(part) if part not in (None, "", "-") else None for part in match.groups())
            return lambda value: value[start : stop : step or 1] if isinstance(value, list) else ()
    if "," in text:
        parts = [_bracket(part, path) for part in text.split(",")]
        return lambda value: [found for part in parts for found in part(value)]
    raise JsonPathError(f"{path!r} is not a JSONPath: cannot read [{text}]")


def _field(name: str) -> Step:
    return lambda value: (value[name],) if isinstance(value, dict) and name in value else ()


def _index(index: int) -> Step:
    def step(value: Any) -> Iterable[Any]:
        return (value[index],) if isinstance(value, list) and -len(value) <= index < len(value) else ()

    return step


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _descend(value: Any) -> Iterator[Any]:
    yield value
    for child in _children(value):
        yield from _descend(child)


def _filter(condition: str, path: str) -> Step:
    match = _COMPARISON.match(condition)
    if match is None:
        exists = _operand(condition, path)
        return lambda value: [item for item in _items(value) if exists(item)]
    left, compare, right = _operand(match[1], path), _OPERATORS[match[2]], _operand(match[3], path)

    def holds(item: Any) -> bool:
        ours, theirs = left(item), right(item)
        if not ours or not theirs:
            return False
        try:
            return compare(ours[0], theirs[0])
        except TypeError:
            return False

    return lambda value: [item for item in _items(value) if holds(item)]


def _items(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else _children(value)


def _operand(text: str, path: str) -> Finder:
    if text.startswith("@"):
        return compile_path(text[1:])
    if len(text) >= 2 and text[0] == text[-1] == "'":
        literal = [text[1:-1]]
        return lambda item: literal
    try:
        constant = [msgspec.json.decode(text.encode())]
    except msgspec.DecodeError:
        raise JsonPathError(f"{path!r} is not a JSONPath: cannot read {text!r} in a filter") from None
    return lambda item: constant
