"""What of a value the rules about it look at. The evaluator takes in all that it is given, anew for each rule: a job's
pod templates, when the rule is about its name. So `cel.to_cel` gives it this much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kfcore.api.meta import Manifest
from kfcore.apiserver.cel_ast import Node
from kfcore.apiserver.cel_names import escape

_VALUES = ("self", "oldSelf", "__oldSelf")


@dataclass(slots=True)
class Needs:
    """Of a value: all of it (`whole`), or these fields by their names in CEL, and `each` of every key or item. With
    `keys` it matters which keys there are, with nothing at all only that the value is there.
    """

    whole: bool = False
    keys: bool = False
    fields: dict[str, Needs] = field(default_factory=dict)
    each: Needs | None = None

    def of(self, name: str) -> Needs | None:
        """What is needed of a key's value; None: not even the key."""
        if self.whole:
            return self
        named = self.fields.get(name)
        if named is not None and self.each is not None:
            return EVERYTHING
        return named or self.each or (_PRESENCE if self.keys else None)

    @property
    def of_item(self) -> Needs:
        return self if self.whole else self.each or _PRESENCE

    def of_each(self) -> Needs:
        """To be added to: what is needed of every key's value, or of every item."""
        self.each = self.each or Needs()
        return self.each


_PRESENCE = Needs()
EVERYTHING = Needs(whole=True)

_Place = tuple[Needs, Manifest | None]
"""A place in the value: what is needed of it, and its schema where that is known."""


def needs_of(trees: Iterable[Node], schema: Manifest) -> Needs:
    """What expressions look at together of `self`, and of `oldSelf`; `schema` is that of both."""
    needs = Needs()
    for tree in trees:
        _look(tree, dict.fromkeys(_VALUES, (needs, schema)))
    return needs


def _look(node: Node, names: Mapping[str, _Place]) -> None:
    """Add what an expression needs; `names` are the variables that stand for places in the value."""
    place = _place(node, names)
    if place is not None:
        place[0].whole = place[0].whole or node.kind != "has"
    elif node.kind == "loop":
        _look_around(node, names)
    elif node.kind == "call" and node.name == "size" and (sized := _place(node.parts[0], names)) is not None:
        sized[0].keys = True
    else:
        for part in node.parts:
            _look(part, names)


def _look_around(loop: Node, names: Mapping[str, _Place]) -> None:
    around, first, *inside = loop.parts
    item, gathered = loop.variables
    names_inside = {name: place for name, place in names.items() if name not in (item, gathered)}
    match _place(around, names):
        case None:
            _look(around, names)
        case needs, {"type": "object"}:
            needs.keys = True  # a loop over a map is one over its keys
        case needs, {"type": "array"} as schema:
            names_inside[item] = needs.of_each(), _inside(schema)
        case needs, _:
            needs.whole = True
    _look(first, names)
    for part in inside:
        _look(part, names_inside)


def _place(node: Node, names: Mapping[str, _Place]) -> _Place | None:
    """The place in the value that a node names; None for no such place."""
    if node.kind == "ident":
        return names.get(node.name)
    is_index = node.kind == "call" and node.name == "_[_]"
    if not is_index and node.kind not in ("select", "has"):
        return None
    outer = _place(node.parts[0], names)
    if outer is None:
        return None
    needs, schema = outer
    if is_index:
        _look(node.parts[1], names)
        return needs.of_each(), _inside(schema)
    return needs.fields.setdefault(node.name, Needs()), _field(schema, node.name)


def _inside(schema: Manifest | None) -> Manifest | None:
    """The schema of every key's value, or of every item."""
    schema = schema or {}
    found = schema.get("items" if schema.get("type") == "array" else "additionalProperties")
    return found if isinstance(found, dict) and not schema.get("properties") else None


def _field(schema: Manifest | None, name: str) -> Manifest | None:
    properties = (schema or {}).get("properties") or {}
    return next((inner for key, inner in properties.items() if escape(key) == name), _inside(schema))
