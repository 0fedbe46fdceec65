"""Whether an apply's body fits the kind's types, which field ownership needs to hold: no field that there is not, no
value of another type, no list item without its key or with the key of another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.bodies import check_kind, json_type, missing_kind, parse_yaml
from kfcore.apiserver.field_sets import dotted, item_name
from kfcore.apiserver.field_validation import FieldValidation
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.status import bad_request, go_map
from kfcore.apiserver.typed import ANY, Typed, type_of


def read_applied(kind: ServedKind, name: str, body: bytes, validation: FieldValidation) -> Manifest:
    """What a request's body applies. Raises BadRequest for one that says another version than the URL does."""
    try:
        applied = parse_yaml(body)
    except ValueError as error:
        raise bad_request(f"error decoding YAML: {error}") from error
    if not isinstance(applied, dict):
        found = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal"
        raise bad_request(
            f"error decoding YAML: {found} {json_type(applied)} into Go value of type map[string]interface {{}}"
        )
    if not applied.get("kind"):
        raise missing_kind(applied)
    version = applied.get("apiVersion") or ""
    if version != kind.resource.api_version:
        raise bad_request(
            f"Incorrect version specified in apply patch. Specified patch version: {version}, expected: "
            f"{kind.resource.api_version}"
        )
    check_kind(kind.resource, applied, custom=kind.custom)
    metadata = applied.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise bad_request("metadata must be an object")
    if metadata.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    metadata.setdefault("name", name)
    validation.check_yaml(body)
    return applied


def check_applied(kind: ServedKind, namespace: str, body: Manifest) -> None:
    """Raises BadRequest in the words of the real server, which answers with the code of a failure of its own."""
    problems = list(_problems(body, type_of(kind), ()))
    if problems:
        text = problems[0] if len(problems) == 1 else "\n  ".join(["errors:", *problems])
        resource = kind.resource
        name = f"{namespace}/{body['metadata'].get('name', '')}" if resource.namespaced else body["metadata"]["name"]
        what = f"{resource.api_version}, Kind={resource.kind}" if resource.group else f"/v1, Kind={resource.kind}"
        raise bad_request(f"failed to create typed patch object ({name}; {what}): {text}")


def _problems(value: Any, type_: Typed, path: tuple[str, ...]) -> Iterator[str]:
    if value is None:
        return
    match type_.shape:
        case "struct" | "map":
            if not isinstance(value, dict):
                yield f"{dotted(path)}: expected map, got {_go_pointer(value)}"
                return
            for name, inner in value.items():
                member = type_.member(name)
                if member is None:
                    yield f"{dotted((*path, f'f:{name}'))}: field not declared in schema"
                else:
                    yield from _problems(inner, member, (*path, f"f:{name}"))
        case "list":
            if not isinstance(value, list):
                yield f"{dotted(path)}: expected list, got {_go_pointer(value)}"
                return
            yield from _list_problems(value, type_, path)
        case "string" if not isinstance(value, str):
            yield f"{dotted(path)}: expected string, got &value.valueUnstructured{{Value:{go_map(value)}}}"
        case "numeric" if not isinstance(value, int | float) or isinstance(value, bool):
            found = {str: "string", bool: "bool", dict: "map[string]interface {}", list: "[]interface {}"}[type(value)]
            yield f"{dotted(path)}: expected numeric (int or float), got {found}"
        case "boolean" if not isinstance(value, bool):
            yield f"{dotted(path)}: expected boolean, got {_go_pointer(value)}"


def _list_problems(value: list[Any], type_: Typed, path: tuple[str, ...]) -> Iterator[str]:
    keys, seen = type_.keys, set()
    for index, item in enumerate(value):
        where = f"i:{index}"
        if keys is not None:
            missing = [
                key for key in keys if isinstance(item, dict) and key not in item and key not in type_.key_defaults
            ]
            if missing:
                yield (
                    f"{dotted(path)}: element {index}: associative list with keys has an element that omits key field "
                    f'"{missing[0]}" (and doesn\'t have default value)'
                )
                continue
            where = item_name(item, type_)
            if where in seen:
                yield f"{dotted(path)}: duplicate entries for key {dotted((where,))}"
                continue
            seen.add(where)
        yield from _problems(item, type_.item() if item is not None else ANY, (*path, where))


def _go_pointer(value: Any) -> str:
    return f"&{{{go_map(value)}}}"
