"""Server-side apply: who owns which field (`managedFields`), conflicts, and what a manager's new intent changes.

Lists merge by the keys of `strategic.py` for built-in kinds and by the schema's list types for custom ones; other lists
are owned whole. What plain updates own is `ownership.py`'s.
"""

from __future__ import annotations

from typing import Any

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.strategic import MERGE_KEYS
from kfcore.client.errors import Cause, Conflict, StatusDetails

Fields = dict[str, Any]
"""A set of fields as FieldsV1: `f:name`, `k:{…}`, `v:…` to their children; `.` is the item itself."""

_UNOWNED = ("apiVersion", "kind", "metadata.name", "metadata.namespace", "metadata.resourceVersion", "metadata.uid")
_ATOMIC = frozenset({"selector", "matchLabels"})


class ListKeys:
    """How the lists of a kind are merged: the keys of a list of objects, or whether it is a set."""

    def __init__(self, kind: ServedKind) -> None:
        self._schema = kind.schema if kind.custom else None
        self._builtin = not kind.custom

    def keys(self, path: tuple[str, ...], items: list[Any]) -> tuple[str, ...] | None:
        """The merge keys of the list at `path`; an empty tuple for a set, None for a list that is owned whole."""
        name = path[-1]
        if path == ("metadata", "finalizers"):
            return ()
        if path == ("metadata", "ownerReferences"):
            return ("uid",)
        if not self._builtin:
            return self._schema_keys(path)
        if name == "ports":
            contained = any(isinstance(item, dict) and "containerPort" in item for item in items)
            return ("containerPort" if contained else "port", "protocol")
        return MERGE_KEYS.get(name) or None

    def _schema_keys(self, path: tuple[str, ...]) -> tuple[str, ...] | None:
        schema: Any = self._schema or {}
        for part in path:
            if schema.get("type") == "array":
                schema = schema.get("items") or {}
            schema = (schema.get("properties") or {}).get(part) or schema.get("additionalProperties") or {}
            if not isinstance(schema, dict):
                return None
        match schema.get("x-kubernetes-list-type"):
            case "map":
                return tuple(schema.get("x-kubernetes-list-map-keys") or ())
            case "set":
                return ()
        return None

    @staticmethod
    def item(item: Any, keys: tuple[str, ...]) -> str:
        if not keys or not isinstance(item, dict):
            return f"v:{encode_json(item).decode()}"
        defaults = {"protocol": "TCP"}
        named = {key: item.get(key, defaults.get(key)) for key in sorted(keys)}
        return f"k:{encode_json({key: value for key, value in named.items() if value is not None}).decode()}"

    def atomic(self, path: tuple[str, ...]) -> bool:
        return self._builtin and path[-1] in _ATOMIC


class Applier:
    """One apply request."""

    def __init__(self, kind: ServedKind, manager: str, *, force: bool, subresource: str, now: str) -> None:
        self._kind = kind
        self._manager = manager
        self._force = force
        self._subresource = subresource
        self._now = now
        self._lists = ListKeys(kind)

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
        merged: Manifest = self._merge(current, body, ())
        if mine is not None:
            held: Fields = {}
            for fields in (wanted, *(entry.get("fieldsV1") or {} for entry in others)):
                held = union(held, fields)
            self._drop(merged, mine.get("fieldsV1") or {}, held, ())
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
        return self._fields_of(body, ())

    def _fields_of(self, value: Any, path: tuple[str, ...]) -> Fields:
        if isinstance(value, dict) and not (path and self._lists.atomic(path)):
            fields: Fields = {}
            for key, inner in value.items():
                inner_path = (*path, key)
                if ".".join(inner_path) in _UNOWNED:
                    continue
                children = self._fields_of(inner, inner_path)
                if inner_path == ("metadata",) and not children:
                    continue
                fields[f"f:{key}"] = children
            return fields
        if isinstance(value, list):
            keys = self._lists.keys(path, value)
            if keys is None:
                return {}
            return {
                ListKeys.item(item, keys): {".": {}, **self._fields_of(item, path)} if keys else {} for item in value
            }
        return {}

    # ── merging ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _merge(self, current: Any, wanted: Any, path: tuple[str, ...]) -> Any:
        if isinstance(wanted, dict) and isinstance(current, dict) and not (path and self._lists.atomic(path)):
            for key, value in wanted.items():
                current[key] = self._merge(current[key], value, (*path, key)) if key in current else value
            return current
        if isinstance(wanted, list) and isinstance(current, list):
            keys = self._lists.keys(path, [*wanted, *current])
            if keys is not None:
                places = {ListKeys.item(item, keys): index for index, item in enumerate(current)}
                for item in wanted:
                    index = places.get(ListKeys.item(item, keys))
                    if index is None:
                        current.append(item)
                    else:
                        current[index] = self._merge(current[index], item, path)
                return current
        return wanted

    def _drop(self, value: Any, before: Fields, held: Fields, path: tuple[str, ...]) -> None:
        """Remove, in place, what was this manager's and is now nobody's."""
        if isinstance(value, dict):
            for name, children in before.items():
                key = name.removeprefix("f:")
                if not name.startswith("f:") or key not in value:
                    continue
                if name not in held:
                    del value[key]
                else:
                    self._drop(value[key], children, held[name], (*path, key))
        elif isinstance(value, list):
            keys = self._lists.keys(path, value)
            if keys is None:
                return
            for item in list(value):
                name = ListKeys.item(item, keys)
                if name in before and name not in held:
                    value.remove(item)
                elif name in before:
                    self._drop(item, before[name], held[name], path)

    # ── conflicts ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _settle_conflicts(self, current: Manifest, body: Manifest, wanted: Fields, others: list[Manifest]) -> None:
        """Find the fields that this apply changes and others own. Forced, they become this manager's alone."""
        causes: list[Cause] = []
        for entry in others:
            owned = entry.get("fieldsV1") or {}
            contested = self._contested(current, body, wanted, owned, ())
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
                    listed.setdefault(cause.message, []).append(cause.field)
                text = "conflicts " + "; ".join(
                    f"{message.removeprefix('conflict ')}:\n" + "\n".join(f"- {place}" for place in places)
                    for message, places in listed.items()
                )
            raise Conflict(f"Apply failed with {len(causes)} {noun}: {text}", details=StatusDetails(causes=causes))

    def _contested(
        self, current: Any, body: Any, wanted: Fields, owned: Fields, path: tuple[str, ...]
    ) -> list[tuple[str, ...]]:
        found: list[tuple[str, ...]] = []
        for name, children in wanted.items():
            if name == "." or name not in owned:
                continue
            now, then = self._at(body, name, path), self._at(current, name, path)
            inner = (*path, name)
            if children and owned[name]:
                found += self._contested(then, now, children, owned[name], inner)
            elif not children and now != then and not (owned[name] and isinstance(now, dict | list)):
                found.append(inner)
        return found

    def _at(self, value: Any, name: str, path: tuple[str, ...]) -> Any:
        if name.startswith("f:"):
            return value.get(name[2:]) if isinstance(value, dict) else None
        fields = tuple(part[2:] for part in path if part.startswith("f:"))
        if not isinstance(value, list):
            return None
        keys = self._lists.keys(fields, value)
        return next((item for item in value if keys is not None and ListKeys.item(item, keys) == name), None)


def union(left: Fields, right: Fields) -> Fields:
    merged = dict(left)
    for name, children in right.items():
        merged[name] = union(merged.get(name, {}), children)
    return merged


def take_away(fields: Fields, path: tuple[str, ...]) -> None:
    """Remove the field at `path` from a field set, in place, and the parents that this leaves empty."""
    name, *rest = path
    if name not in fields:
        return
    if rest:
        take_away(fields[name], tuple(rest))
        if not fields[name]:
            del fields[name]
    else:
        del fields[name]


def dotted(path: tuple[str, ...]) -> str:
    """A field's path as conflicts name it: `.spec.ports[port=80,protocol="TCP"].name`."""
    text = ""
    for part in path:
        if part.startswith("f:"):
            text += f".{part[2:]}"
        elif part.startswith("k:"):
            pairs = decode_json(part[2:].encode())
            text += "[" + ",".join(f"{key}={encode_json(value).decode()}" for key, value in pairs.items()) + "]"
        else:
            text += f"[={part[2:]}]"
    return text


def _described(entry: Manifest) -> str:
    text = f'"{entry.get("manager", "")}"'
    if subresource := entry.get("subresource"):
        text += f' with subresource "{subresource}"'
    if entry.get("operation") == "Update":
        text += f" using {entry.get('apiVersion', '')}"
    return text
