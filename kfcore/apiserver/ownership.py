"""Who set which field by a plain create, update or patch: the `Update` entries of `managedFields`.

`apply.py` has the other half, the `Apply` entries, and the form of field sets. Callers name themselves by a
`fieldManager` parameter or a user agent; those that do neither (in-process ones) own nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.field_sets import Fields, item_name, union
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.request import Request
from kfcore.apiserver.typed import ANY, Typed, type_of

_ABSENT: Any = object()
_LIMIT = 128
_SERVERS_OWN = frozenset(
    {"name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink",
     "deletionTimestamp", "deletionGracePeriodSeconds"}
)  # fmt: skip
_ALWAYS_THERE = frozenset(
    {"metadata", "spec", "template", "strategy", "updateStrategy", "containers", "resources", "status", "jobTemplate",
     "involvedObject", "source", "valueFrom", "scaleTargetRef", "backend", "service", "loadBalancer"}
)  # fmt: skip
"""Fields of built-in kinds that their types write even when empty, so that nobody owns them as such."""


class Owner(msgspec.Struct, frozen=True):
    """Who makes a request, and when."""

    manager: str
    time: str


def owner_of(request: Request, time: str) -> Owner | None:
    manager = request.query.get("fieldManager", "")
    if not manager:
        agent = request.headers.get("user-agent")
        if agent is None:
            return None
        manager = "".join(filter(str.isprintable, agent.partition("/")[0]))[:_LIMIT] or "unknown"
    return Owner(manager, time)


def managed(
    kind: ServedKind, owner: Owner, before: Manifest | None, after: Manifest, *, subresource: str = ""
) -> list[Manifest]:
    """The `managedFields` of `after`, which `owner` made of `before`; None: of nothing."""
    entries: list[Manifest] = [] if before is None else before["metadata"].get("managedFields") or []
    given = after["metadata"].get("managedFields")
    if given is not None and before is not None:
        if not any(entry.get("manager") for entry in given):
            return []  # a client that sends an empty list wants to be rid of them
        entries = given
    walk = _Walk(type_of(kind), builtin=not kind.custom)
    changed = walk.root({} if before is None else before, after)
    mine: Manifest | None = None
    kept = []
    for entry in entries:
        fields = walk.still_there(entry.get("fieldsV1") or {}, after)
        is_mine = (entry.get("manager"), entry.get("operation"), entry.get("subresource", "")) == (
            owner.manager, "Update", subresource,
        )  # fmt: skip
        if not is_mine:
            fields = _without(fields, changed)
        if is_mine:
            mine = {**entry, "fieldsV1": fields}
        elif fields:
            kept.append({**entry, "fieldsV1": fields})
    if changed:
        mine = _entry(kind, owner, union((mine or {}).get("fieldsV1") or {}, changed), subresource)
    if mine is not None and mine["fieldsV1"]:
        kept.append(mine)
    return sorted(kept, key=lambda entry: (entry.get("operation", ""), entry.get("time", ""), entry.get("manager", "")))


def _entry(kind: ServedKind, owner: Owner, fields: Fields, subresource: str) -> Manifest:
    entry: Manifest = {
        "manager": owner.manager,
        "operation": "Update",
        "apiVersion": kind.resource.api_version,
        "time": owner.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    if subresource:
        entry["subresource"] = subresource
    return entry


def _without(fields: Fields, changed: Fields) -> Fields:
    """`fields` without those that `changed` sets."""
    kept: Fields = {}
    for name, children in fields.items():
        other = changed.get(name)
        if other is None:
            kept[name] = children
        elif children and other and (inner := _without(children, other)):
            kept[name] = inner
        elif children and not other:
            continue
    return kept


class _Walk:
    """What differs between two states of an object, as a field set."""

    def __init__(self, type_: Typed, *, builtin: bool) -> None:
        self._type = type_
        self._builtin = builtin

    def root(self, before: Manifest, after: Manifest) -> Fields:
        found: Fields = {}
        for name, value in after.items():
            if name in ("kind", "apiVersion"):
                continue
            then = before.get(name, _ABSENT)
            if name == "metadata":
                value = {key: inner for key, inner in value.items() if key not in _SERVERS_OWN}
                then = then if isinstance(then, dict) else {}
            if (fields := self._changed(then, value, name, self._type.member(name) or ANY)) is not None:
                found[f"f:{name}"] = fields
        return found

    def _changed(self, then: Any, now: Any, name: str, type_: Typed) -> Fields | None:
        """None: nothing of it was set. `name` is the field's."""
        if then is now or then == now or now is None:
            return None
        if isinstance(now, dict) and not type_.atomic:
            fields = self._members(then if isinstance(then, dict) else {}, now, type_)
        elif isinstance(now, list) and type_.keys is not None:
            fields = self._items(then if isinstance(then, list) else [], now, type_)
        else:
            return {}
        if then is not _ABSENT and then is not None:
            return fields or None
        if fields and not (self._builtin and name in _ALWAYS_THERE) and name != "metadata":
            return {".": {}, **fields}
        return fields if now or name != "metadata" else None

    def _members(self, then: Manifest, now: Manifest, type_: Typed) -> Fields:
        found: Fields = {}
        for key, value in now.items():
            if not isinstance(value, dict | list):
                if value is not None and (key not in then or then[key] != value):
                    found[f"f:{key}"] = {}
            elif (fields := self._changed(then.get(key, _ABSENT), value, key, type_.member(key) or ANY)) is not None:
                found[f"f:{key}"] = fields
        return found

    def _items(self, then: list[Any], now: list[Any], type_: Typed) -> Fields:
        known = {item_name(item, type_): item for item in then}
        item_type = type_.item()
        found: Fields = {}
        for item in now:
            name = item_name(item, type_)
            before = known.get(name, _ABSENT)
            if before is not _ABSENT and before == item:
                continue
            if not isinstance(item, dict) or item_type.atomic:
                found[name] = {}
                continue
            fields = self._members(before if isinstance(before, dict) else {}, item, item_type)
            found[name] = {".": {}, **fields} if before is _ABSENT else fields
        return found

    def still_there(self, fields: Fields, value: Any, type_: Typed | None = None) -> Fields:
        """`fields` without those that `value` does not have."""
        type_ = type_ or self._type
        kept: Fields = {}
        items: dict[str, Any] = {}
        if isinstance(value, list) and type_.keys is not None:
            items = {item_name(item, type_): item for item in value}
        for name, children in fields.items():
            if name == ".":
                kept[name] = children
            elif name.startswith("f:"):
                if isinstance(value, dict) and name[2:] in value:
                    member = type_.member(name[2:]) or ANY
                    inner = self.still_there(children, value[name[2:]], member) if children else {}
                    if inner or not children:
                        kept[name] = inner
            elif name in items:
                kept[name] = self.still_there(children, items[name], type_.item()) if children else {}
        return kept
