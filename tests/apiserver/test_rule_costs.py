"""What a CRD's CEL rules may cost: the estimate, to the unit, and what is refused for it."""

from __future__ import annotations

from typing import Any

import pytest
from conversing import Conversation

from kfcore.api.meta import Manifest
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All"
SPEC = "spec.validation.openAPIV3Schema.properties[spec]"
RULES = "x-kubernetes-validations"
BUDGET = 10_000_000
TEXT, NUMBER, FLAG = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
EITHER = {"x-kubernetes-int-or-string": True}
OBJECT = {"type": "object", "required": ["required"], "properties": {"required": TEXT, "optional": TEXT}}


def listed(items: Any, most: int | None = None) -> Manifest:
    return {"type": "array", "items": items, **({} if most is None else {"maxItems": most})}


def mapped(values: Any, most: int | None = None) -> Manifest:
    return {"type": "object", "additionalProperties": values, **({} if most is None else {"maxProperties": most})}


def text(most: int) -> Manifest:
    return {**TEXT, "maxLength": most}


def timed(form: str) -> Manifest:
    return {**TEXT, "format": form}


async def created(spec: Manifest) -> tuple[int, str]:
    version = {"name": "v1", "served": True, "storage": True}
    version["schema"] = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    crd = {
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [version],
        },
    }
    status, answer = await Conversation(ApiServer(clock=FakeClock()))("POST", CRDS, crd)
    return status, str(answer.get("message", ""))


async def cost(rule: str, schema: Manifest) -> float:
    """What a rule costs, by what is said where there are so many values that the budget is missed by a little."""
    ruled = {**schema, RULES: [{"rule": rule}]}
    often = 1
    while True:
        status, message = await created(listed(ruled, often))
        if status == 201:
            often *= 10
            continue
        factor = message.partition("exceeds budget by factor of ")[2].partition("x (")[0]
        if factor.startswith("more") or float(factor) >= 1.5:
            often = max(often * 9 // 10, 1)
            continue
        return float(factor) * BUDGET / often


@pytest.mark.parametrize(
    ("rule", "schema", "expected"),
    [
        ("self.all(x, true)", listed(NUMBER), 4718591),
        ("self.all(x, true)", listed(NUMBER, 10), 32),
        ("self.all(x, true)", listed(TEXT), 3145727),
        ("self.all(x, true)", listed(FLAG), 1887437),
        ("self.all(x, true)", listed(listed(NUMBER)), 3145727),
        ("self.all(x, true)", listed(OBJECT), 555128),
        ("self.all(x, true)", listed(EITHER), 4718591),
        ("self.all(x, true)", listed(timed("duration")), 2359295),
        ("self.all(x, true)", listed(timed("date")), 725936),
        ("self.all(x, true)", listed(timed("date-time")), 428963),
        ("self.all(x, true)", mapped(NUMBER), 1348169),
        ("self.all(x, true)", mapped(TEXT, 3), 11),
        ("self.all(x, true)", mapped(OBJECT), 428963),
        ("self.contains('test')", TEXT, 314574),
        ("self.contains('test')", text(10), 5),
        ("self.startsWith('test')", TEXT, 2),
        ("size(self + 'hello') > size('hello')", TEXT, 314578),
        ("self[1] == 0.0", listed(NUMBER), 2),
        ("self[1] == self[1]", listed(TEXT), 314577),
        ("self[0] == 5", listed(EITHER), 3),
        ("self[0][0] == -1.0", listed(listed(NUMBER)), 3),
        ("self.all(x, self.all(y, true))", listed(NUMBER, 10), 352),
        ("self.all(x, self.all(y, self.all(z, true)))", listed(NUMBER, 10), 3552),
        ("self.matches('x')", TEXT, 314574),
        ("self.matches('x')", text(50), 22),
        ("self.all(x, x.contains(self[x]))", mapped(TEXT), 2752507),
        ("self == 'x'", TEXT, 2),
        ("self == 'x'", text(0), 1),
        ("self.all(x, x == 0.0)", listed(NUMBER), 6291454),
        ("self.all(x, x.y == 25.2)", listed(mapped(NUMBER)), 6291452),
        ("self[0].x > 2.0", listed(mapped(NUMBER)), 4),
        ("self.find('[0-9]+') == ''", TEXT, 629147),
        ("self.lowerAscii() == 'lower!'", TEXT, 314575),
        ("self.isSorted() == true", listed(text(10), 10), 52),
        ("self.join(' ') == 'aa bb'", listed(text(10), 10), 43),
        ("self.contains('A')", {**TEXT, "enum": ["A", "B", "LongValue"]}, 2),
        ("self.str.split(self.separator) == []",
         {"type": "object", "properties": {"str": text(10), "separator": text(10)}}, 22),
    ],
)  # fmt: skip
async def test_a_rule_costs_what_its_schema_allows(rule: str, schema: Manifest, expected: int) -> None:
    assert await cost(rule, schema) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("rule", "schema"),
    [
        ("self.all(x, self.all(y, x == y))", listed(TEXT)),
        ("self.all(x, x.matches('^a'))", listed(TEXT)),
        ("self.contains(self)", TEXT),
        ("self.isSorted()", listed(TEXT)),
    ],
)
async def test_a_rule_that_may_take_too_long_is_refused(rule: str, schema: Manifest) -> None:
    status, message = await created({**schema, RULES: [{"rule": rule}]})
    assert status == 422
    assert (
        f"{SPEC}.{RULES}[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x" in message
    )
    assert "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps" in message


async def test_rules_may_not_cost_too_much_together() -> None:
    rule = {"rule": "self.all(x, x == 0.0)"}
    assert (await created({**listed(NUMBER), RULES: [rule] * 15}))[0] == 201
    status, message = await created({**listed(NUMBER), RULES: [rule] * 16})
    assert status == 422
    assert (
        "spec.validation.openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire "
        "OpenAPIv3 schema exceeds budget by factor of 1.006633x" in message
    )


async def test_a_message_that_may_take_too_long_to_say_is_refused() -> None:
    rule = {"rule": "self.size() < 5", "messageExpression": "self.contains(self) ? 'a' : 'b'"}
    _, message = await created({**TEXT, RULES: [rule]})
    assert f"{SPEC}.{RULES}[0].messageExpression: Forbidden: estimated messageExpression cost exceeds budget" in message
