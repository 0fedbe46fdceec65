"""What a CEL rule can cost at most, by its syntax tree and the sizes that its schema allows: a CRD whose rules may cost
too much is refused. The unit is the evaluator's of the real server: about one operation.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.cel_ast import Node
from kfcore.apiserver.cel_names import escape
from kfcore.apiserver.cel_sizes import UNKNOWN, most_elements

RULE_LIMIT, DEFINITION_LIMIT = 10_000_000, 100_000_000
_ADVICE = (
    "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared"
)
_TRAVERSAL, _REGEX = 0.1, 0.25
_COMPARED = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"})
_PER_ITEM = frozenset({"isSorted", "sum", "min", "max", "indexOf", "lastIndexOf"})
_ONCE = frozenset({"lowerAscii", "upperAscii", "substring", "trim"})
_TWICE = frozenset({"split", "replace"})
_PARSING = frozenset({
    "url", "isURL", "quantity", "isQuantity", "ip", "isIP", "cidr", "isCIDR", "semver", "isSemver",
})  # fmt: skip
_TIMES = ("date", "date-time", "duration")


class Value(msgspec.Struct, frozen=True):
    """What is known of a value: its schema, and its size where that is not the schema's to say. What is not known is
    taken to be small: a rule is refused for what it surely may cost.
    """

    schema: Manifest | None = None
    size: int | None = None

    @property
    def most(self) -> int:
        if self.size is not None:
            return self.size
        return most_elements(self.schema) if self.schema is not None and self.schema.get("type") else 1

    @property
    def is_text(self) -> bool:
        return self.schema is not None and self.schema.get("type") == "string"


_SCALAR = Value(size=1)


def cost_of(node: Node, schema: Manifest) -> int:
    """The most that one evaluation of an expression about a value of `schema` costs."""
    return of_self(schema).cost(node)


def of_self(schema: Manifest) -> Estimate:
    """What is known of an expression's variables, of which `schema` is that of the value that it is about."""
    return Estimate({name: Value(schema) for name in ("self", "oldSelf", "__oldSelf")})


def too_costly(what: str, cost: int, limit: int) -> str:
    """Why something is refused that costs more than the limit."""
    times = cost / limit
    factor = "more than 100x" if times > 100 else f"{times:f}x" if times < 1.5 else f"{times:.1f}x"
    return f"{what} exceeds budget by factor of {factor} ({_ADVICE})"


class Estimate:
    """Of expressions whose variables are known."""

    def __init__(self, variables: dict[str, Value]) -> None:
        self._variables = variables

    def cost(self, node: Node) -> int:
        match node.kind:
            case "ident":
                return 1
            case "has":
                return self.cost(node.parts[0])
            case "select":
                return self.cost(node.parts[0]) + 1
            case "list":
                return 10 + sum(map(self.cost, node.parts))
            case "struct":
                return 30 + sum(map(self.cost, node.parts))
            case "loop":
                return self._loop(node)
            case "call":
                return self._call(node)
        return 0

    def _loop(self, node: Node) -> int:
        range_, initial, condition, step, result = node.parts
        begin = self.cost(range_) + self.cost(initial)
        inside = self.inside(node)
        each = inside.cost(condition) + inside.cost(step)
        return begin + _times(self.value(range_).most, each) + inside.cost(result)

    def inside(self, loop: Node) -> Estimate:
        """The same with what a loop's variables are."""
        range_, initial, *_ = loop.parts
        item, gathered = loop.variables
        once = range_.kind == "list" and not range_.parts  # a variable is bound, and nothing repeated
        found = {item: _item_of(self.value(range_)), gathered: self.value(initial) if once else Value()}
        return Estimate({**self._variables, **found})

    def _call(self, node: Node) -> int:
        costs = [self.cost(part) for part in node.parts]
        values = [self.value(part) for part in node.parts]
        sizes = [value.most for value in values]
        if node.name == "_?_:_":
            return costs[0] + max(costs[1], costs[2])
        return sum(costs) + self._function(node.name, values, sizes)

    def _function(self, name: str, values: list[Value], sizes: list[int]) -> int:
        match name, sizes:
            case "_&&_" | "_||_", _:
                return 0
            case _, [left, right] if name in _COMPARED:
                ordered = name not in ("_==_", "_!=_")
                sized = not ordered or any(value.is_text for value in values)
                return _scaled(min(left, right), _TRAVERSAL) if sized else 1
            case "@in" | "_in_", [_, right]:
                return 1 if (values[1].schema or {}).get("type") == "object" else right
            case "_+_", [left, right]:
                return _scaled(left + right, _TRAVERSAL) if any(value.is_text for value in values) else 1
            case "startsWith" | "endsWith", [_, other]:
                return _scaled(other, _TRAVERSAL)
            case "contains", [text, other]:
                return _times(_scaled(text, _TRAVERSAL), _scaled(other, _TRAVERSAL))
            case "matches" | "find" | "findAll", [text, pattern, *_]:
                return _times(_scaled(text + 1, _TRAVERSAL), _scaled(pattern, _REGEX))
            case "sets.contains" | "sets.intersects", [left, right]:
                return 1 + _times(left, right)
            case "sets.equivalent", [left, right]:
                return 1 + 2 * _times(left, right)
            case _, [text, *_] if name in _PER_ITEM:
                item = _item_of(values[0])
                each = 1 + (_scaled(item.most, _TRAVERSAL) if item.is_text else 0)
                return _scaled(text, _TRAVERSAL) if values[0].is_text else _times(text, each)
            case "join", [many, *separator]:
                each = _item_of(values[0]).most
                between = _times(sum(separator), max(many - 1, 0))
                return _scaled(min(_times(many, each) + between, UNKNOWN), _TRAVERSAL)
            case _, [text, *_] if name in _ONCE or name in _PARSING:
                return _scaled(text, _TRAVERSAL)
            case _, [text, *_] if name in _TWICE:
                return 2 * _scaled(text, _TRAVERSAL)
            case "timestamp" | "duration", [_] if (values[0].schema or {}).get("format") in _TIMES:
                return 0  # to the real server it is a time already
        return 1

    def value(self, node: Node) -> Value:
        """What is known of the value of `node`."""
        match node.kind:
            case "const":
                return Value(size=node.size if node.size is not None else 1)
            case "list":
                return Value(size=len(node.parts))
            case "struct":
                return Value(size=len(node.parts) // 2)
            case "ident":
                return self._variables.get(node.name, Value())
            case "select":
                return _member(self.value(node.parts[0]), node.name)
            case "has":
                return _SCALAR
            case "loop":
                return self._loop_value(node)
            case "call":
                return self._call_value(node)
        return Value()

    def _loop_value(self, node: Node) -> Value:
        range_, initial, _, _, result = node.parts
        if range_.kind == "list" and not range_.parts:
            return self.inside(node).value(result)
        return Value(size=self.value(range_).most) if initial.kind == "list" else _SCALAR

    def _call_value(self, node: Node) -> Value:
        values = [self.value(part) for part in node.parts]
        match node.name:
            case "_[_]" | "_[?_]" | "optional_or_value":
                return _item_of(values[0], of_map=True)
            case "_?_:_":
                return Value(size=max(values[1].most, values[2].most))
            case "_+_":
                return Value(size=min(values[0].most + values[1].most, UNKNOWN))
            case "value" | "orValue" | "optional.of" | "timestamp" | "duration" if values:
                return values[0]
            case "lowerAscii" | "upperAscii" | "substring" | "trim" | "split" if values:
                return Value(size=values[0].most)
            case name if name in _COMPARED or name in ("!_", "_&&_", "_||_", "size", "matches", "contains", "@in"):
                return _SCALAR
        return Value()


def _member(value: Value, name: str) -> Value:
    for key, inner in ((value.schema or {}).get("properties") or {}).items():
        if escape(key) == name:
            return Value(inner)
    return Value()


def _item_of(value: Value, *, of_map: bool = False) -> Value:
    """What a loop goes through, or (`of_map`) what an index gives: a map's values rather than its keys."""
    schema = value.schema or {}
    inner: Any = schema.get("items") if schema.get("type") == "array" else schema.get("additionalProperties")
    if schema.get("type") == "object" and not of_map:
        return Value(size=0)
    return Value(inner) if isinstance(inner, dict) else Value()


def _scaled(size: int, factor: float) -> int:
    return UNKNOWN if size >= UNKNOWN else math.ceil(size * factor)


def _times(left: int, right: int) -> int:
    return min(left * right, UNKNOWN)
