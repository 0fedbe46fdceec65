"""A CRD's `x-kubernetes-validations`: each rule compiled with its first use, evaluated at every value in its scope."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.cel import CompileError, EvaluationError, Expression, compile_expression, to_cel
from kfcore.apiserver.cel_needs import Needs, needs_of
from kfcore.apiserver.schema import EMBEDDED
from kfcore.apiserver.status import FieldError, forbidden_field, go_value, invalid_value, required

RULES = "x-kubernetes-validations"
_MESSAGE_LIMIT = 5120
_ABSENT: Any = object()


@dataclass(frozen=True)
class Rule:
    """One rule of a schema. `problem` is what keeps it from being evaluated."""

    source: Manifest
    schema: Manifest
    root: bool

    @property
    def optional(self) -> bool:
        return bool(self.source.get("optionalOldSelf"))

    @property
    def label(self) -> str:
        return str(self.source.get("message") or self.source["rule"]).strip()

    @cached_property
    def expression(self) -> Expression | CompileError:
        return self._compiled(self.source["rule"], "bool")

    @cached_property
    def message_expression(self) -> Expression | CompileError | None:
        text = self.source.get("messageExpression")
        return self._compiled(text, "string") if text else None

    def _compiled(self, text: str, result: str) -> Expression | CompileError:
        try:
            return compile_expression(text, self.schema, result, root=self.root, optional=self.optional)
        except CompileError as error:
            return error


class Rules:
    """All rules of a schema, as a tree of the places that have some."""

    def __init__(self, schema: Manifest, *, root: bool = True) -> None:
        self._schema = schema
        self._root = root
        own = list(schema.get(RULES) or ())
        for part in schema.get("allOf") or ():
            own += part.get(RULES) or ()
        self._own = [Rule(rule, schema, root) for rule in own]
        self._properties = {
            name: rules
            for name, inner in (schema.get("properties") or {}).items()
            if (rules := Rules(inner, root=bool(inner.get(EMBEDDED))))
        }
        self._additional = _rules_of(schema.get("additionalProperties"))
        self._items = _rules_of(schema.get("items"))
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        self._keys = tuple(keys) if schema.get("x-kubernetes-list-type") == "map" else ()

    @cached_property
    def _needs(self) -> Needs:
        """What the rules of this very place look at, and their messages."""
        expressions = [expression for rule in self._own for expression in (rule.expression, rule.message_expression)]
        return needs_of([found.tree for found in expressions if isinstance(found, Expression)], self._schema)

    def __bool__(self) -> bool:
        return bool(self._own or self._properties or self._additional or self._items)

    def violations(self, value: Any, previous: Any = None) -> list[FieldError]:
        """The rules that an object breaks; `previous` is None for a new one."""
        return list(self._violations(value, _ABSENT if previous is None else previous, ""))

    def _violations(self, value: Any, previous: Any, place: str) -> Iterator[FieldError]:
        if value is None:
            return
        if self._own:
            yield from self._own_violations(value, previous, place)
        if isinstance(value, dict):
            before = previous if isinstance(previous, dict) else {}
            atomic = self._schema.get("x-kubernetes-map-type") == "atomic"
            for key, inner in value.items():
                rules, name = self._properties.get(key), f"{place}.{key}" if place else key
                if rules is None and key not in (self._schema.get("properties") or {}):
                    rules, name = self._additional, f"{place}[{key}]"
                if rules is not None:
                    yield from rules._violations(inner, _ABSENT if atomic else before.get(key, _ABSENT), name)
        elif isinstance(value, list) and self._items is not None:
            known = {self._key(item): item for item in previous} if self._keys and isinstance(previous, list) else {}
            for index, item in enumerate(value):
                before = known.get(self._key(item), _ABSENT) if known else _ABSENT
                yield from self._items._violations(item, before, f"{place}[{index}]")

    def _key(self, item: Any) -> tuple[str, ...]:
        return tuple(go_value(item.get(key)) if isinstance(item, dict) else "" for key in self._keys)

    def _own_violations(self, value: Any, previous: Any, place: str) -> Iterator[FieldError]:
        unchanged = previous is not _ABSENT and value == previous
        has_previous = previous is not _ABSENT and previous is not None
        now: Any = _ABSENT
        then: Any = None
        for rule in self._own:
            expression = rule.expression
            if isinstance(expression, CompileError):
                yield _invalid(place, f"rule compile error: {expression}")
                continue
            if expression.transition and not has_previous and not rule.optional:
                continue  # a transition from nothing
            if unchanged and not expression.transition:
                continue  # what was there before the rule may stay
            if now is _ABSENT:
                now = to_cel(value, self._schema, root=self._root, needs=self._needs)
                then = to_cel(previous, self._schema, root=self._root, needs=self._needs) if has_previous else None
            try:
                holds = expression.evaluate(now, then, has_previous=has_previous)
            except EvaluationError as error:
                if str(error).startswith("no such overload"):
                    yield _invalid(
                        place,
                        f"'{error}': call arguments did not match a supported operator, function or macro signature "
                        f"for rule: {rule.label}",
                    )
                else:
                    yield _invalid(place, f"{error} evaluating rule: {rule.label}")
                continue
            if holds is not True:
                yield _broken(rule, place, now, then, has_previous=has_previous)


def _rules_of(schema: Any) -> Rules | None:
    rules = Rules(schema, root=bool(schema.get(EMBEDDED))) if isinstance(schema, dict) else None
    return rules or None


def _invalid(place: str, why: str) -> FieldError:
    return FieldError("FieldValueInvalid", place or "<nil>", f"Invalid value: {why}")


def _broken(rule: Rule, place: str, now: Any, then: Any, *, has_previous: bool) -> FieldError:
    path = rule.source.get("fieldPath")
    if path:
        place = f"{place}{path}" if place else path.removeprefix(".")
    message = _message(rule, now, then, has_previous=has_previous)
    match rule.source.get("reason"):
        case "FieldValueForbidden":
            return forbidden_field(place, message)
        case "FieldValueRequired":
            return required(place, message)
        case "FieldValueDuplicate":
            return FieldError("FieldValueDuplicate", place, "Duplicate value")
    return _invalid(place, message)


def _message(rule: Rule, now: Any, then: Any, *, has_previous: bool) -> str:
    """What a broken rule says: its expression's text if that has one fit to print, else its message, else itself."""
    expression = rule.message_expression
    if isinstance(expression, Expression) and (has_previous or rule.optional or not expression.transition):
        try:
            text = str(expression.evaluate(now, then, has_previous=has_previous)).strip()
        except EvaluationError:
            text = ""
        if text and "\n" not in text and len(text.encode()) <= _MESSAGE_LIMIT:
            return text
    if message := rule.source.get("message"):
        return str(message).strip()
    return f"failed rule: {str(rule.source['rule']).strip()}"


# ── the rules themselves ─────────────────────────────────────────────────────────────────────────────────────────────

_FIELDS = ("rule", "message", "messageExpression", "reason", "fieldPath", "optionalOldSelf")
_REASONS = ("FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate")
_PATH_PART = re.compile(r"\.([^.\[\]]+)|\['((?:[^'\\]|\\.)*)'\]")


def rule_problems(schema: Manifest, place: str, *, root: bool = True, apart: str = "") -> list[FieldError]:
    """What is wrong with the rules of a schema at `place`, in the words of the server that refuses such a CRD. `apart`
    is within what values cannot be told to be the ones of before; empty: they can.
    """
    errors: list[FieldError] = []
    for index, rule in enumerate(schema.get(RULES) or ()):
        errors += _problems(rule, schema, f"{place}.{RULES}[{index}]", root=root, apart=apart)
    for name, inner in (schema.get("properties") or {}).items():
        if isinstance(inner, dict):
            inside = apart or (place if schema.get("x-kubernetes-map-type") == "atomic" else "")
            errors += rule_problems(inner, f"{place}.properties[{name}]", root=bool(inner.get(EMBEDDED)), apart=inside)
    if isinstance(inner := schema.get("additionalProperties"), dict):
        errors += rule_problems(inner, f"{place}.additionalProperties", root=False, apart=apart)
    if isinstance(inner := schema.get("items"), dict):
        inside = apart or ("" if schema.get("x-kubernetes-list-type") == "map" else place)
        errors += rule_problems(inner, f"{place}.items", root=bool(inner.get(EMBEDDED)), apart=inside)
    return errors


def _problems(source: Any, schema: Manifest, place: str, *, root: bool, apart: str) -> Iterator[FieldError]:
    if not isinstance(source, dict) or not isinstance(source.get("rule"), str) or not source["rule"].strip():
        yield required(f"{place}.rule", "rule is not specified")
        return
    rule = Rule(source, schema, root)
    shown = go_value({name[0].upper() + name[1:]: source.get(name, _empty(name)) for name in _FIELDS})
    message = source.get("message")
    for text in ("messageExpression", "fieldPath"):
        if source.get(text) and not str(source[text]).strip():
            why = f"{text} must be non-empty if specified"
            where = f"{place}.{text}"
            yield required(where, why) if text == "messageExpression" else invalid_value(where, source[text], why)
            return
    if isinstance(message, str) and message and not message.strip():
        yield FieldError(
            "FieldValueInvalid", f"{place}.message", f"Invalid value: {go_value(message)}: message must be non-empty "
            "if specified"
        )  # fmt: skip
    elif isinstance(message, str) and "\n" in message.strip():
        yield FieldError(
            "FieldValueInvalid",
            f"{place}.message",
            f"Invalid value: {go_value(message)}: message must not contain line breaks",
        )
    elif "\n" in source["rule"].strip() and not message:
        yield required(f"{place}.message", "message must be specified if rule contains line breaks")
    if (reason := source.get("reason")) is not None and reason not in _REASONS:
        listed = ", ".join(go_value(item) for item in sorted(_REASONS))
        yield FieldError(
            "FieldValueNotSupported",
            f"{place}.reason",
            f"Unsupported value: {go_value(reason)}: supported values: {listed}",
        )
    if (path := source.get("fieldPath")) and (why := _path_problem(str(path), schema)):
        yield FieldError(
            "FieldValueInvalid",
            f"{place}.fieldPath",
            f"Invalid value: {go_value(path)}: fieldPath must be a valid path: {why}",
        )
    expression = rule.expression
    if isinstance(expression, CompileError):
        yield FieldError("FieldValueInvalid", f"{place}.rule", f"Invalid value: {shown}: {expression}")
    elif expression.transition and apart:
        yield FieldError(
            "FieldValueInvalid",
            f"{place}.rule",
            f"Invalid value: {go_value(source['rule'])}: oldSelf cannot be used on the uncorrelatable portion of the "
            f"schema within {apart}",
        )
    elif rule.optional and not expression.transition:
        yield FieldError(
            "FieldValueInvalid",
            f"{place}.optionalOldSelf",
            "Invalid value: true: may not be set if oldSelf is not used in rule",
        )
    if isinstance(problem := rule.message_expression, CompileError):
        why = str(problem).removeprefix("compilation failed: ")
        yield FieldError(
            "FieldValueInvalid",
            f"{place}.messageExpression",
            f"Invalid value: {shown}: messageExpression compilation failed: {why}",
        )


def _empty(field: str) -> str | None:
    return None if field in ("reason", "optionalOldSelf") else ""


def _path_problem(path: str, schema: Manifest) -> str:
    end = 0
    node: Any = schema
    for match in _PATH_PART.finditer(path):
        if match.start() != end:
            break
        end = match.end()
        name = match[1] if match[1] is not None else match[2]
        properties = node.get("properties")
        node = properties.get(name) if properties else node.get("additionalProperties")
        if not isinstance(node, dict):
            return "does not refer to a valid field"
    return "" if end == len(path) else f"expected [ or . but got: {path[end:]}"
