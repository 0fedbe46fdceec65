"""A rule is evaluated over what it looks at, wherever in a value that is: each of these holds by one part of the value
and is broken by another.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.apiserver.test_cel import NUMBER, TEXT, of, refusals

SHORT = {**TEXT, "maxLength": 9}
ITEM = {"type": "object", "properties": {"name": SHORT, "size": NUMBER, "my-size": NUMBER}}
PARTS = {
    "name": SHORT,
    "other": SHORT,
    "list": {"type": "array", "items": ITEM, "maxItems": 9},
    "texts": {"type": "array", "items": SHORT, "maxItems": 9},
    "map": {"type": "object", "additionalProperties": ITEM, "maxProperties": 9},
    "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "item": ITEM,
}
GOOD: dict[str, Any] = {
    "name": "a",
    "other": "z",
    "list": [{"name": "a", "size": 1, "my-size": 5}, {"name": "b", "size": 2}],
    "texts": ["a", "b"],
    "map": {"a": {"name": "a", "size": 1}, "b": {"name": "b", "size": 2}},
    "open": {"deep": {"er": [1, 2]}},
    "item": {"name": "a", "size": 3, "my-size": 4},
}
RULES: list[tuple[str, dict[str, Any]]] = [
    ("self.name == 'a'", {"name": "b"}),
    ("has(self.item)", {"item": None}),
    ("self.item.my__dash__size == 4", {"item": {"my-size": 5}}),
    ("self.item == self.list[0] || self.item.size == 3", {"item": {"size": 4}}),
    ("self.list.all(x, x.size < 3)", {"list": [{"size": 3}]}),
    ("self.list.exists(x, x.name == 'b') && self.list.all(x, has(x.size))", {"list": [{"name": "b"}]}),
    ("self.list.filter(x, x.size > 1).map(x, x.name) == ['b']", {"list": [{"name": "c", "size": 2}]}),
    ("self.list.all(x, self.texts.exists(y, y == x.name))", {"texts": ["a"]}),
    ("self.list.exists(x, x.name == 'b') && self.list.all(x, x.size == 1 || x.name == 'b')", {"list": [{"size": 2}]}),
    ("self.list[0].size == 1 && size(self.list) == 2", {"list": [{"size": 1}]}),
    ("size(self.map) == 2", {"map": {"a": {}}}),
    ("self.map.size() == 2", {"map": {"a": {}}}),
    ("size(self.item.name) == 1", {"item": {"name": "aa"}}),
    ("self.map.all(key, key in ['a', 'b'])", {"map": {"c": {}}}),
    ("self.map.all(key, self.map[key].size < 3)", {"map": {"a": {"size": 3}}}),
    ("self.map.all(key, !has(self.map[key].size) || self.map[key].size < 3)", {"map": {"a": {"size": 3}}}),
    ("self.map['a'].size == 1 && self.map.a.name == 'a'", {"map": {"a": {"name": "b"}}}),
    ("self.map[self.name].size == 1", {"name": "b"}),
    ("self.map == {'a': {'name': 'a', 'size': 1}, 'b': {'name': 'b', 'size': 2}}", {"map": {"a": {"size": 2}}}),
    ("'b' in self.map", {"map": {"a": {}, "b": None}}),
    ("self.open.deep.er[1] == 2", {"open": {"deep": {"er": [1, 3]}}}),
    ("self.open.deep.er.exists(x, x == 1)", {"open": {"deep": {"er": [3]}}}),
    ("self.?item.?size.orValue(0) == 3", {"item": {"size": 1}}),
    ("cel.bind(it, self.item, it.size == 3 && it.name == 'a')", {"item": {"name": "b"}}),
    ("(self.name == 'a' ? self.item : self.list[0]).size == 3", {"item": {"size": 1}}),
    ("[self.name, self.other].exists(x, x == 'z')", {"other": "y"}),
    ("dyn(self).name == 'a'", {"name": "b"}),
]


@pytest.mark.parametrize(("rule", "change"), RULES)
async def test_a_rule_sees_all_that_it_asks_for(rule: str, change: dict[str, Any]) -> None:
    changed = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    assert await refusals(of(PARTS, rule), GOOD) == []
    assert await refusals(of(PARTS, rule), changed) != []


@pytest.mark.parametrize(
    "rule",
    [
        "oldSelf.item.size <= self.item.size",
        "oldSelf.item.size <= self.item.size && oldSelf.list.all(x, self.list.exists(y, y.name == x.name))",
        {"rule": "!oldSelf.hasValue() || oldSelf.value().item.size <= self.item.size", "optionalOldSelf": True},
    ],
)
async def test_a_rule_sees_what_it_asks_for_of_the_value_before(rule: Any) -> None:
    assert await refusals(of(PARTS, rule), GOOD, {"item": {"size": 4}}) == []
    assert await refusals(of(PARTS, rule), GOOD, {"item": {"size": 2}}) != []


async def test_of_several_rules_and_a_message_each_sees_what_it_asks_for() -> None:
    named = {"rule": "self.name == 'a'", "messageExpression": "'not ' + self.item.name + ' of ' + self.other"}
    found = await refusals(of(PARTS, named, "self.list.all(x, x.size < 3)"), {**GOOD, "name": "b", "other": "c"})
    assert found == [("spec", "Invalid value: not a of c")]
