"""Whether what a CEL expression compares is of one type, and what it gives: the evaluator takes objects for maps of
anything, so that it cannot tell. Only what is sure is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from kfcore.api.meta import Manifest
from kfcore.apiserver.cel_ast import Node
from kfcore.apiserver.cel_costs import Estimate, Value

_EQUAL, _ORDERED = frozenset({"_==_", "_!=_"}), frozenset({"_<_", "_<=_", "_>_", "_>=_"})
_LOGICAL = frozenset({"_&&_", "_||_", "!_"})
_TESTS = frozenset({"matches", "contains", "startsWith", "endsWith", "@in"}) | _EQUAL | _ORDERED | _LOGICAL
_NUMBERS = frozenset({"int", "double", "uint"})
_KINDS = {"integer": "int", "number": "double", "boolean": "bool"}
_TEXTS = {
    "byte": "bytes", "date": "google.protobuf.Timestamp", "date-time": "google.protobuf.Timestamp",
    "duration": "google.protobuf.Duration",
}  # fmt: skip


def kind_of(node: Node, variables: Estimate) -> str:
    """The type of a scalar, empty where it is not known or none."""
    if node.kind == "const":
        return node.name
    if node.kind == "has" or (node.kind == "call" and node.name in _TESTS):
        return "bool"
    if node.kind == "call" and node.name == "size":
        return "int"
    indexes = node.kind == "call" and node.name == "_[_]"
    if node.kind not in ("ident", "select") and not indexes:
        return ""
    value: Value = variables.value(node)
    schema: Manifest = value.schema or {}
    if schema.get("x-kubernetes-int-or-string"):
        return ""
    if schema.get("type") == "string":
        return _TEXTS.get(schema.get("format") or "", "string")
    return _KINDS.get(schema.get("type") or "", "")


def type_problems(node: Node, variables: Estimate) -> Iterator[tuple[Node, str]]:
    """The calls that there are no such functions for, and why."""
    if node.kind == "loop":
        range_, initial, *inside = node.parts
        for part in (range_, initial):
            yield from type_problems(part, variables)
        inner = variables.inside(node)
        for part in inside:
            yield from type_problems(part, inner)
        return
    for part in node.parts:
        yield from type_problems(part, variables)
    if node.kind != "call":
        return
    kinds = [kind_of(part, variables) for part in node.parts]
    if all(kinds) and not _fit(node.name, kinds):
        yield node, f"found no matching overload for '{node.name}' applied to '({', '.join(kinds)})'"


def _fit(name: str, kinds: list[str]) -> bool:
    if name in _LOGICAL:
        return set(kinds) == {"bool"}
    if name in _EQUAL:
        return len(set(kinds)) == 1
    return name not in _ORDERED or len(set(kinds)) == 1 or set(kinds) <= _NUMBERS
