"""What Go's decoder says to text that is not JSON: the API server's words for a body that cannot be read."""

from __future__ import annotations

import json

_SPACE = b" \t\r\n"
_DIGITS = b"0123456789"
_HEX = b"0123456789abcdefABCDEF"
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}


def syntax_error(body: bytes) -> str:
    """What is wrong with a body; empty when it is JSON after all."""
    try:
        scanner = _Scanner(body)
        scanner.value("looking for beginning of value")
        scanner.skip()
        if scanner.at < len(body):
            raise scanner.unexpected("after top-level value")
    except _Unexpected as error:
        return str(error)
    except RecursionError:
        return "exceeded max depth"
    return ""


class _Unexpected(Exception):
    pass


class _Scanner:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self.at = 0

    def unexpected(self, where: str) -> _Unexpected:
        if self.at >= len(self._body):
            return _Unexpected("unexpected end of JSON input")
        return _Unexpected(f"invalid character {_quoted(chr(self._body[self.at]))} {where}")

    def skip(self) -> None:
        while self.at < len(self._body) and self._body[self.at] in _SPACE:
            self.at += 1

    def _byte(self) -> int:
        return self._body[self.at] if self.at < len(self._body) else -1

    def _is(self, characters: bytes) -> bool:
        return self.at < len(self._body) and self._body[self.at] in characters

    def value(self, where: str) -> None:
        self.skip()
        match self._byte():
            case 0x7B:
                self._members()
            case 0x5B:
                self._items()
            case 0x22:
                self._string()
            case first if first in _LITERALS:
                self._literal(_LITERALS[first])
            case _ if self._is(b"-" + _DIGITS):
                self._number()
            case _:
                raise self.unexpected(where)

    def _members(self) -> None:
        self.at += 1
        self.skip()
        if self._is(b"}"):
            self.at += 1
            return
        while True:
            self.skip()
            if not self._is(b'"'):
                raise self.unexpected("looking for beginning of object key string")
            self._string()
            self.skip()
            if not self._is(b":"):
                raise self.unexpected("after object key")
            self.at += 1
            self.value("looking for beginning of value")
            if self._ends(b"}", "after object key:value pair"):
                return

    def _items(self) -> None:
        self.at += 1
        self.skip()
        if self._is(b"]"):
            self.at += 1
            return
        while True:
            self.value("looking for beginning of value")
            if self._ends(b"]", "after array element"):
                return

    def _ends(self, closing: bytes, where: str) -> bool:
        self.skip()
        if not self._is(closing + b","):
            raise self.unexpected(where)
        self.at += 1
        return self._body[self.at - 1] == closing[0]

    def _string(self) -> None:
        self.at += 1
        while not self._is(b'"'):
            if self._byte() < 0x20:
                raise self.unexpected("in string literal")
            escapes = self._is(b"\\")
            self.at += 1
            if not escapes:
                continue
            if not self._is(b'"\\/bfnrtu'):
                raise self.unexpected("in string escape code")
            digits = 4 if self._is(b"u") else 0
            self.at += 1
            for _ in range(digits):
                if not self._is(_HEX):
                    raise self.unexpected("in \\u hexadecimal character escape")
                self.at += 1
        self.at += 1

    def _literal(self, word: bytes) -> None:
        for expected in word:
            if self._byte() != expected:
                raise self.unexpected(f"in literal {word.decode()} (expecting {_quoted(chr(expected))})")
            self.at += 1

    def _number(self) -> None:
        if self._is(b"-"):
            self.at += 1
        if self._is(b"0"):
            self.at += 1
        else:
            self._digits("in numeric literal")
        if self._is(b"."):
            self.at += 1
            self._digits("after decimal point in numeric literal")
        if self._is(b"eE"):
            self.at += 1
            if self._is(b"+-"):
                self.at += 1
            self._digits("in exponent of numeric literal")

    def _digits(self, where: str) -> None:
        if not self._is(_DIGITS):
            raise self.unexpected(where)
        while self._is(_DIGITS):
            self.at += 1


def _quoted(character: str) -> str:
    if character in "'\"":
        return {"'": "'\\''", '"': "'\"'"}[character]
    escaped = f"\\x{ord(character):02x}" if character < " " and character not in _SPACE.decode() else ""
    return f"'{escaped or json.dumps(character, ensure_ascii=not character.isprintable())[1:-1]}'"
