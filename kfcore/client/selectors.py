"""Label and field selectors: parse what a user or a client writes, match objects, render for a query string.

Syntax: the API conventions' label selectors (`a=b`, `a!=b`, `a in (x,y)`, `a notin (x)`, `a`, `!a`) and field
selectors (`path=value`, `path!=value`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Self

import msgspec


class SelectorError(ValueError):
    """A selector that cannot be parsed; the message says which part and what was expected."""


class Requirement(msgspec.Struct, frozen=True):
    """One term of a label selector. `operator` is one of `in`, `notin`, `exists`, `!`."""

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
            case _:
                return value is None

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
            case _:
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"


_KEY = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.\-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.\-]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"\s*({_KEY})\s+(in|notin)\s*\(([^)]*)\)\s*$")
_EQUALITY = re.compile(rf"\s*({_KEY})\s*(==|=|!=)\s*({_VALUE})\s*$")
_EXISTS = re.compile(rf"\s*(!?)\s*({_KEY})\s*$")
_TERMS = re.compile(r",(?![^()]*\))")


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
    return tuple(_parse_requirement(term) for term in _TERMS.split(text))


def _parse_requirement(term: str) -> Requirement:
    if match := _SET.match(term):
        values = [value.strip() for value in match[3].split(",")]
        for value in values:
            if not re.fullmatch(_VALUE, value):
                raise SelectorError(f"unable to parse requirement: invalid label value {value!r}")
        return Requirement(match[1], match[2], frozenset(values))
    if match := _EQUALITY.match(term):
        return Requirement(match[1], "notin" if match[2] == "!=" else "in", frozenset({match[3]}))
    if match := _EXISTS.match(term):
        return Requirement(match[2], "!" if match[1] else "exists")
    raise SelectorError(f"unable to parse requirement: {term.strip()!r} is not a label requirement")


class FieldSelector(msgspec.Struct, frozen=True):
    """A conjunction of `path = value` and `path != value` terms, as (path, equal, value)."""

    terms: tuple[tuple[str, bool, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises SelectorError for what is not a field selector."""
        terms = []
        for term in filter(None, text.split(",")):
            match = re.fullmatch(r"\s*([^=!\s]+)\s*(==|=|!=)\s*(.*?)\s*", term)
            if match is None:
                raise SelectorError(f"invalid selector: {term.strip()!r}; can't understand {term.strip()!r}")
            terms.append((match[1], match[2] != "!=", match[3]))
        return cls(tuple(terms))

    @property
    def paths(self) -> frozenset[str]:
        return frozenset(path for path, _, _ in self.terms)

    def matches(self, value_of: Callable[[str], str]) -> bool:
        """`value_of` gives the object's value of a path, an empty string where it has none."""
        return all((value_of(path) == value) is equal for path, equal, value in self.terms)

    def __str__(self) -> str:
        return ",".join(f"{path}{'=' if equal else '!='}{value}" for path, equal, value in self.terms)

    def __bool__(self) -> bool:
        return bool(self.terms)
