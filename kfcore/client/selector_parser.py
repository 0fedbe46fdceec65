"""From the text of a label selector to its terms, by the grammar of the API server and with its words for what is none.

`selectors.py` makes requirements of the terms. Nothing here knows what a label may be called but by `NAME` and `VALUE`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PREFIX = r"[a-z0-9](?:[a-z0-9.\-]*[a-z0-9])?"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.\-]{0,61}[A-Za-z0-9])?"
NAME = re.compile(rf"(?:{_PREFIX}/)?{_NAME}")
VALUE = re.compile(rf"(?:{_NAME})?")
_INTEGER = re.compile(r"[+-]?\d+")
_TOKEN = re.compile(r"\s*(==|!=|[=!<>(),]|[^\s=!<>(),]+)")
_SYMBOLS = frozenset("=!<>(),")
_OPERATORS = ("in", "notin", "=", "==", "!=", ">", "<")
_EXPECTED = "in, notin, =, ==, !=, gt, lt"

Term = tuple[str, str, tuple[str, ...]]
"""Key, operator (`in`, `notin`, `exists`, `!`, `>`, `<`) and values."""


class SelectorError(ValueError):
    """A selector that cannot be parsed; the message says which part and what was expected."""


class UnfitLabel(SelectorError):
    """A key or value that no label can have. `place` is where the API server says that it is: `<nil>` for a key."""

    def __init__(self, text: str, place: str, why: str = "no label can have it") -> None:
        self.text = text
        self.place = place
        super().__init__(f'unable to parse requirement: {place}: Invalid value: "{text}": {why}')

    @property
    def is_key(self) -> bool:
        return self.place == "<nil>"


def parse_terms(text: str) -> Iterator[Term]:
    """Raises SelectorError."""
    return _Parser(text).terms()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._next = 0

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def terms(self) -> Iterator[Term]:
        while token := self._peek():
            if token in _SYMBOLS - {"!"} or token in ("==", "!="):
                raise SelectorError(f"found '{token}', expected: !, identifier, or 'end of string'")
            yield self._term()
            following = self._take()
            if not following:
                return
            if following != ",":
                raise SelectorError(f"found '{following}', expected: ',' or 'end of string'")
            if not _is_word(self._peek()) and self._peek() != "!":
                raise SelectorError(f"found '{self._peek()}', expected: identifier after ','")

    def _term(self) -> Term:
        absent = self._peek() == "!"
        if absent:
            self._take()
        key = self._take()
        if not _is_word(key):
            raise self._unfit(key, "identifier")
        if not NAME.fullmatch(key):
            raise UnfitLabel(key, "<nil>")
        if self._peek() in ("", ","):
            return key, "!" if absent else "exists", ()
        if absent:
            return key, "!", ()  # and what follows is no end of a term
        operator = self._take()
        if operator not in _OPERATORS:
            raise self._unfit(operator, _EXPECTED)
        values = tuple(sorted(self._listed() if operator in ("in", "notin") else {self._value()}))
        if operator in "<>" and not _INTEGER.fullmatch(values[0]):
            raise SelectorError(
                f"unable to parse requirement: values[0]: Invalid value: \"{values[0]}\": for 'Gt', 'Lt' operators, "
                "the value must be an integer"
            )
        for index, value in enumerate(values):
            if not VALUE.fullmatch(value):
                raise UnfitLabel(value, f"values[{index}][{key}]")
        return key, {"=": "in", "==": "in", "!=": "notin"}.get(operator, operator), values

    def _value(self) -> str:
        if self._peek() in ("", ","):
            return ""
        value = self._take()
        if not _is_word(value):
            raise self._unfit(value, "identifier")
        return value

    def _listed(self) -> set[str]:
        if (opening := self._take()) != "(":
            raise SelectorError(f"unable to parse requirement: found '{opening}' expected: '('")
        if not _is_word(self._peek()) and self._peek() not in (",", ")"):
            raise self._unfit(self._peek(), "',', ')' or identifier")
        values: set[str] = set()
        while True:
            values.add(self._take() if _is_word(self._peek()) else "")
            match self._take():
                case ")":
                    return values
                case ",":
                    if self._peek() not in (",", ")") and not _is_word(self._peek()):
                        raise self._unfit(self._peek(), "',', or identifier")
                case other:
                    raise self._unfit(other, "',' or ')'")

    @staticmethod
    def _unfit(found: str, expected: str) -> SelectorError:
        return SelectorError(f"unable to parse requirement: found '{found}', expected: {expected}")


def _is_word(token: str) -> bool:
    return bool(token) and token not in _SYMBOLS and token not in ("==", "!=")
