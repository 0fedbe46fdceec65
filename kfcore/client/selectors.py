"""Label and field selectors: parse what a user or a client writes, match objects, render for a query string.

Syntax: the API conventions' label selectors (`a=b`, `a!=b`, `a in (x,y)`, `a notin (x)`, `a`, `!a`, `a>1`, `a<5`; they
are `selector_parser.py`'s) and field selectors (`path=value`, `path!=value`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Self

import msgspec

from kfcore.client.selector_parser import SelectorError, UnfitLabel, parse_terms

__all__ = ["FieldSelector", "LabelSelector", "Requirement", "SelectorError", "UnfitLabel"]


class Requirement(msgspec.Struct, frozen=True):
    """One term of a label selector. `operator` is one of `in`, `notin`, `exists`, `!`, `>`, `<`."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case ">" | "<":
                return self._compares(value)
            case _:
                return value is None

    def _compares(self, value: str | None) -> bool:
        """By number; what is none compares with nothing."""
        bound = next(iter(self.values))
        try:
            return value is not None and (int(value) > int(bound) if self.operator == ">" else int(value) < int(bound))
        except ValueError:
            return False

    def __str__(self) -> str:
        match self.operator:
            case "in" if len(self.values) == 1:
                return f"{self.key}={next(iter(self.values))}"
            case "notin" if len(self.values) == 1:
                return f"{self.key}!={next(iter(self.values))}"
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case ">" | "<":
                return f"{self.key}{self.operator}{next(iter(self.values))}"
            case _:
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"


_EQUALITY = re.compile(r"([^=!]*)(==|!=|=)(.*)", re.DOTALL)
_TERM = re.compile(r"(?:\\.|[^,])+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.?)|=", re.DOTALL)


class LabelSelector(msgspec.Struct, frozen=True):
    """A conjunction of requirements; without any it matches everything."""

    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises SelectorError for what is not a label selector."""
        return cls(_parse_requirements(text))

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> Self:
        """The selector of exactly these labels."""
        return cls(_exactly(tuple(labels.items())))

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """From a meta/v1 LabelSelector (`matchLabels`, `matchExpressions`)."""
        operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
        terms = list(cls.from_labels(spec.get("matchLabels") or {}).requirements)
        for index, expression in enumerate(spec.get("matchExpressions") or []):
            operator = operators.get(expression.get("operator", ""))
            if operator is None:
                raise SelectorError(
                    f"matchExpressions[{index}].operator: expected one of {', '.join(operators)}, "
                    f"found {expression.get('operator')!r}"
                )
            terms.append(Requirement(expression["key"], operator, frozenset(expression.get("values") or [])))
        return cls(tuple(terms))

    def matches(self, labels: Mapping[str, str]) -> bool:
        for requirement in self.requirements:  # noqa: SIM110 — for every object of a list: a generator costs more
            if not requirement.matches(labels):
                return False
        return True

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def __bool__(self) -> bool:
        return bool(self.requirements)


@lru_cache(512)
def _exactly(labels: tuple[tuple[str, str], ...]) -> tuple[Requirement, ...]:
    return tuple(Requirement(key, "in", frozenset({value})) for key, value in labels)


@lru_cache(512)
def _parse_requirements(text: str) -> tuple[Requirement, ...]:
    if not text.strip():
        return ()
    return tuple(Requirement(key, operator, frozenset(values)) for key, operator, values in parse_terms(text))


class FieldSelector(msgspec.Struct, frozen=True):
    """A conjunction of `path = value` and `path != value` terms, as (path, equal, value)."""

    terms: tuple[tuple[str, bool, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises SelectorError for what is not a field selector."""
        terms = []
        for term in _TERM.findall(text):
            match = _EQUALITY.fullmatch(term)
            if match is None:
                raise SelectorError(f"invalid selector: '{text}'; can't understand '{term}'")
            terms.append((match[1], match[2] != "!=", _ESCAPED.sub(_unescape, match[3])))
        return cls(tuple(terms))

    @property
    def paths(self) -> frozenset[str]:
        return frozenset(path for path, _, _ in self.terms)

    def matches(self, value_of: Callable[[str], str]) -> bool:
        """`value_of` gives the object's value of a path, an empty string where it has none."""
        return all((value_of(path) == value) is equal for path, equal, value in self.terms)

    def __str__(self) -> str:
        return ",".join(f"{path}{'=' if equal else '!='}{_escape(value)}" for path, equal, value in self.terms)

    def __bool__(self) -> bool:
        return bool(self.terms)


def _unescape(match: re.Match[str]) -> str:
    escaped = match[1]
    if escaped is None:
        raise SelectorError(f"invalid field selector: unescaped character in value: {ord('=')}")
    if escaped not in ("\\", ",", "="):
        raise SelectorError(f"invalid field selector: invalid escape sequence: {match[0]}")
    return escaped


def _escape(value: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", value)
