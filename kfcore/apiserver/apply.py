"""Server-side apply: who owns which field (`managedFields`), conflicts, and what a manager's new intent changes.

How lists merge is the kind's types' to say (`typed.py`). What plain updates own is `ownership.py`'s.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.field_sets import Fields, dotted, item_name, take_away, union
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.typed import ANY, Typed, type_of
from kfcore.client.errors import Cause, Conflict, StatusDetails

_IDENTITY = ("name", "namespace", "uid", "resourceVersion")
_UNOWNED = ("apiVersion", "kind")
_UNOWNED_METADATA = frozenset({
    "name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink",
})  # fmt: skip


def reset(kind: ServedKind, body: Manifest, subresource: str) -> None:
    """Take out, in place, what the kind does not let this way of writing set: nobody comes to own that."""
    if subresource == "status":
        for name in [name for name in body if name not in ("kind", "apiVersion", "metadata", "status")]:
            del body[name]
        if kind.custom:
            body["metadata"] = {name: body["metadata"][name] for name in _IDENTITY if name in body["metadata"]}
    elif not subresource and kind.status:
        body.pop("status", None)


class Applier:
    """One apply request."""

    def __init__(self, kind: ServedKind, manager: str, *, force: bool, subresource: str, now: str) -> None:
        self._kind = kind
        self._manager = manager
        self._force = force
        self._subresource = subresource
        self._now = now
        self._type = type_of(kind)

    def create(self, body: Manifest) -> Manifest:
        """What an apply creates where nothing is."""
        manifest: Manifest = decode_json(encode_json(body))
        manifest["metadata"]["managedFields"] = [self._entry(self._fields(body))]
        return manifest

    def apply(self, current: Manifest, body: Manifest) -> Manifest:
        """`current` as this manager wants it. Raises Conflict for fields of others, unless forced."""
        entries: list[Manifest] = current["metadata"].pop("managedFields", None) or []
        wanted = self._fields(body)
        mine = next((entry for entry in entries if self._is_mine(entry)), None)
        others = [entry for entry in entries if entry is not mine]
        self._settle_conflicts(current, body, wanted, others)
        merged: Manifest = self._merge(current, body, self._type)
        if mine is not None:
            held: Fields = {}
            for fields in (wanted, *(entry.get("fieldsV1") or {} for entry in others)):
                held = union(held, fields)
            held.setdefault("f:metadata", {})  # whoever says that it is theirs: no object is without
            self._drop(merged, mine.get("fieldsV1") or {}, held, self._type)
        entry = self._entry(wanted)
        if mine is not None and mine.get("fieldsV1") == wanted:
            entry["time"] = mine.get("time", self._now)
        kept = [other for other in others if other.get("fieldsV1")]
        applies = [other for other in kept if other.get("operation") == "Apply"]
        updates = [other for other in kept if other.get("operation") != "Apply"]
        if mine is not None:
            applies = [entry if other is mine else other for other in entries if other is mine or other in applies]
        else:
            applies.append(entry)
        merged["metadata"]["managedFields"] = applies + updates
        return merged

    def _is_mine(self, entry: Manifest) -> bool:
        return (
            entry.get("manager") == self._manager
            and entry.get("operation") == "Apply"
            and entry.get("subresource", "") == self._subresource
        )

    def _entry(self, fields: Fields) -> Manifest:
        entry: Manifest = {
            "manager": self._manager,
            "operation": "Apply",
            "apiVersion": self._kind.resource.api_version,
            "time": self._now,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }
        if self._subresource:
            entry["subresource"] = self._subresource
        return entry

    # ── field sets ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _fields(self, body: Manifest) -> Fields:
        fields: Fields = {}
        for name, value in body.items():
            if name in _UNOWNED:
                continue
            if name == "metadata":
                value = {key: inner for key, inner in value.items() if key not in _UNOWNED_METADATA}
                if not value:
                    continue
            fields[f"f:{name}"] = self._fields_of(value, self._type.member(name) or ANY)
        return fields

    def _fields_of(self, value: Any, type_: Typed) -> Fields:
        if isinstance(value, dict) and not type_.atomic:
            itself: Fields = {".": {}} if type_.shape == "map" else {}
            fields: Fields = {}
            for key, inner in value.items():
                children = self._fields_of(inner, type_.member(key) or ANY)
                fields[f"f:{key}"] = {**itself, **children} if children else {}
            return fields
        if isinstance(value, list) and type_.keys is not None:
            item_type, itself = type_.item(), {".": {}}
            return {
                item_name(item, type_): {**itself, **self._fields_of(item, item_type)} if type_.keys else {}
                for item in value
            }
        return {}

    # ── merging ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _merge(self, current: Any, wanted: Any, type_: Typed) -> Any:
        if isinstance(wanted, dict) and isinstance(current, dict) and not type_.atomic:
            for key, value in wanted.items():
                inner = type_.member(key) or ANY
                current[key] = self._merge(current[key], value, inner) if key in current else value
            return current
        if isinstance(wanted, list) and isinstance(current, list) and type_.keys is not None:
            return self._merge_items(current, wanted, type_)
        return wanted

    def _merge_items(self, current: list[Any], wanted: list[Any], type_: Typed) -> list[Any]:
        """The items of both: those of `wanted` in its order, and before each the other ones that stood before it."""
        present = {item_name(item, type_): item for item in current}
        asked = {item_name(item, type_): item for item in wanted}
        ours, theirs = deque(present), deque(asked)
        shared = deque(name for name in theirs if name in present)
        merged: dict[str, Any] = {}
        while ours or theirs:
            if ours and ours[0] not in asked:
                name = ours.popleft()
                merged[name] = present[name]
            elif ours and (ours[0] in merged or (theirs and shared and ours[0] not in (theirs[0], shared[0]))):
                ours.popleft()  # it comes at its place in `wanted`
            elif theirs:
                name = theirs.popleft()
                merged[name] = self._merge(present[name], asked[name], type_.item()) if name in present else asked[name]
                if shared and shared[0] == name:
                    shared.popleft()
        return list(merged.values())

    def _drop(self, value: Any, before: Fields, held: Fields, type_: Typed) -> None:
        """Remove, in place, what was this manager's and is now nobody's."""
        if isinstance(value, dict):
            for name, children in before.items():
                key = name.removeprefix("f:")
                if not name.startswith("f:") or key not in value:
                    continue
                if name not in held:
                    del value[key]
                else:
                    self._drop(value[key], children, held[name], type_.member(key) or ANY)
        elif isinstance(value, list) and type_.keys is not None:
            for item in list(value):
                name = item_name(item, type_)
                if name in before and name not in held:
                    value.remove(item)
                elif name in before:
                    self._drop(item, before[name], held[name], type_.item())

    # ── conflicts ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _settle_conflicts(self, current: Manifest, body: Manifest, wanted: Fields, others: list[Manifest]) -> None:
        """Find the fields that this apply changes and others own. Forced, they become this manager's alone."""
        causes: list[Cause] = []
        for entry in others:
            owned = entry.get("fieldsV1") or {}
            contested = self._contested(current, body, wanted, owned, (), self._type)
            for path in contested:
                causes.append(Cause("FieldManagerConflict", f"conflict with {_described(entry)}", dotted(path)))
                if self._force:
                    take_away(owned, path)
        if causes and not self._force:
            noun = "conflict" if len(causes) == 1 else "conflicts"
            if len(causes) == 1:
                text = f"{causes[0].message}: {causes[0].field}"
            else:
                listed: dict[str, list[str]] = {}
                for cause in causes:
                    listed.setdefault(cause.message.removeprefix("conflict "), []).append(f"- {cause.field}")
                text = "\n".join(
                    line for message, places in sorted(listed.items()) for line in (f"conflicts {message}:", *places)
                )
            raise Conflict(f"Apply failed with {len(causes)} {noun}: {text}", details=StatusDetails(causes=causes))

    def _contested(
        self, current: Any, body: Any, wanted: Fields, owned: Fields, path: tuple[str, ...], type_: Typed
    ) -> list[tuple[str, ...]]:
        found: list[tuple[str, ...]] = []
        # As the server lists them: the fields of a place by name, and then what is deeper.
        for name, children in sorted(wanted.items(), key=lambda field: (bool(field[1]), field[0])):
            if name == "." or name not in owned:
                continue
            now, then = _at(body, name, type_), _at(current, name, type_)
            inner = (*path, name)
            if children and owned[name]:
                member = (type_.member(name[2:]) or ANY) if name.startswith("f:") else type_.item()
                found += self._contested(then, now, children, owned[name], inner, member)
            elif not children and now != then and not (owned[name] and isinstance(now, dict | list)):
                found.append(inner)
        return found


def _at(value: Any, name: str, type_: Typed) -> Any:
    if name.startswith("f:"):
        return value.get(name[2:]) if isinstance(value, dict) else None
    if not isinstance(value, list) or type_.keys is None:
        return None
    return next((item for item in value if item_name(item, type_) == name), None)


def _described(entry: Manifest) -> str:
    text = f'"{entry.get("manager", "")}"'
    if subresource := entry.get("subresource"):
        text += f' with subresource "{subresource}"'
    if entry.get("operation") == "Update":
        text += f" using {entry.get('apiVersion', '')}"
    return text
