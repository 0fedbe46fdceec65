"""Which rules of a CRD's schema may cost too much: each by itself, as often as there can be values for it, and all of
them together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.cel import Expression
from kfcore.apiserver.rules import RULES, Rule
from kfcore.apiserver.schema import EMBEDDED
from kfcore.apiserver.status import FieldError, forbidden_field

_NAMED = 4
"""How many of the dearest rules are named where it is all of them that cost too much."""


def cost_problems(schema: Manifest, place: str) -> list[FieldError]:
    """In the words of the server that refuses such a CRD."""
    if not _has_rules(schema):
        return []
    from kfcore.apiserver.cel_costs import DEFINITION_LIMIT, RULE_LIMIT, too_costly  # CEL is for who has rules

    errors: list[FieldError] = []
    costs = list(_costs(schema, place, root=True, often=1))
    for where, what, cost in costs:
        if cost > RULE_LIMIT:
            errors.append(forbidden_field(where, too_costly(f"estimated {what} cost", cost, RULE_LIMIT)))
    if (total := sum(cost for _, _, cost in costs)) > DEFINITION_LIMIT:
        why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        dearest = sorted(costs, key=lambda one: -one[2])[:_NAMED]
        errors += [forbidden_field(where, why) for where, _, cost in dearest if cost]
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        errors.append(forbidden_field(place, too_costly(what, total, DEFINITION_LIMIT)))
    return errors


def _costs(schema: Manifest, place: str, *, root: bool, often: int | None) -> Iterator[tuple[str, str, int]]:
    """Every expression by its place and what it is, with its cost. `often`: how many values there can be; None: any
    number.
    """
    from kfcore.apiserver.cel_costs import cost_of
    from kfcore.apiserver.cel_sizes import most_often

    times = most_often(schema) if often is None else often
    for index, source in enumerate(schema.get(RULES) or ()):
        rule = Rule(source, schema, root)
        for name, what in (("rule", "rule"), ("messageExpression", "messageExpression")):
            expression = rule.expression if name == "rule" else rule.message_expression
            if isinstance(expression, Expression):
                cost = cost_of(expression.tree, expression.schema) * (times if name == "rule" else 1)
                yield f"{place}.{RULES}[{index}].{name}", what, cost
    for inner, where, bound in _parts(schema, place):
        counted = None if often is None or bound is None else often * bound
        yield from _costs(inner, where, root=bool(inner.get(EMBEDDED)), often=counted)


def _parts(schema: Manifest, place: str) -> Iterator[tuple[Manifest, str, int | None]]:
    """The schemas of what a value is made of, and how many of each there can be in it."""
    for name, inner in (schema.get("properties") or {}).items():
        if isinstance(inner, dict):
            yield inner, f"{place}.properties[{name}]", 1
    if isinstance(inner := schema.get("additionalProperties"), dict):
        yield inner, f"{place}.additionalProperties", schema.get("maxProperties")
    if isinstance(inner := schema.get("items"), dict):
        yield inner, f"{place}.items", schema.get("maxItems")


def _has_rules(schema: Any) -> bool:
    return bool(schema.get(RULES)) or any(_has_rules(inner) for inner, _, _ in _parts(schema, ""))
