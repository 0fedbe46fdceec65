"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902): a document and a patch body become the patched document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kfcore.api.codec import decode_json, encode_json
from kfcore.client.errors import Invalid, RequestEntityTooLarge, StatusDetails

OPERATIONS_LIMIT = 10_000
COPIED_LIMIT = 3 * 1024 * 1024
"""Bytes that all copies of one patch may add, as JSON: each may copy what those before it have copied."""
_INDEX = re.compile(r"[+-]?[0-9]{1,18}")


def merge_patch(target: Any, patch: Any) -> Any:
    """`patch` applied to `target`, which may be changed in place; null removes."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            target[key] = merge_patch(target.get(key), value)
        else:
            target[key] = value
    return target


class PatchFailed(Exception):
    """An operation does not fit the document."""

    operation: Mapping[str, Any] = {}
    """Which, once `patched` has raised it."""


def json_patch(document: Any, operations: list[dict[str, Any]]) -> Any:
    """`operations` applied to `document`, which may be changed in place. Raises Invalid for those that do not fit."""
    if len(operations) > OPERATIONS_LIMIT:
        raise RequestEntityTooLarge(
            f"The allowed maximum operations in a JSON patch is {OPERATIONS_LIMIT}, got {len(operations)}"
        )
    try:
        return patched(document, operations)
    except PatchFailed as error:
        raise Invalid(
            "the server rejected our request due to an error in our request", details=StatusDetails()
        ) from error


def patched(document: Any, operations: list[dict[str, Any]]) -> Any:
    """The same, of any number. Raises PatchFailed."""
    copied = 0
    for operation in operations:
        try:
            if operation.get("op") == "copy":
                source = encode_json(_find(document, _pointer(operation.get("from"))))
                copied += len(source)
                if copied > COPIED_LIMIT:
                    raise PatchFailed("copies too much")
                document = _add(document, _pointer(operation.get("path")), decode_json(source))
            else:
                document = _apply(document, operation)
        except PatchFailed as error:
            error.operation = operation
            raise
    return document


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    path = _pointer(operation.get("path"))
    match operation.get("op"):
        case "add":
            return _add(document, path, _value(operation))
        case "remove":
            return _remove(document, path)
        case "replace":
            _find(document, path)
            if not path:
                return _value(operation)
            parent = _find(document, path[:-1])
            parent[_index(parent, path[-1])] = _value(operation)
            return document
        case "move":
            source = _pointer(operation.get("from"))
            value = _find(document, source)
            return _add(_remove(document, source), path, value)
        case "test":
            if not _same(_find_or_none(document, path), operation.get("value")):
                raise PatchFailed("test failed")
            return document
        case _:
            raise PatchFailed("unknown operation")


def _pointer(pointer: Any) -> list[str]:
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise PatchFailed("not a JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchFailed("no value")
    return operation["value"]


def _index(parent: Any, part: str) -> Any:
    """The key or index that a part of a pointer stands for. A negative index counts from the end."""
    if isinstance(parent, dict):
        return part
    if not isinstance(parent, list):
        raise PatchFailed("no such place")
    return _position(part, len(parent))


def _position(part: str, size: int) -> int:
    if not _INDEX.fullmatch(part):
        raise PatchFailed("not an index")
    index = int(part)
    if not -size <= index < size:
        raise PatchFailed("index out of range")
    return index + size if index < 0 else index


def _find(document: Any, path: list[str]) -> Any:
    for part in path:
        index = _index(document, part)
        if isinstance(document, dict) and index not in document:
            raise PatchFailed("no such key")
        document = document[index]
    return document


def _same(left: Any, right: Any) -> bool:
    """Whether two values are written the same: 1 is neither 1.0 nor true."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return type(left) is type(right) and bool(left == right)


def _find_or_none(document: Any, path: list[str]) -> Any:
    try:
        return _find(document, path)
    except PatchFailed:
        return None


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _find(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        # Behind the last item there is a place, too: to insert at -1 is to append.
        parent.insert(len(parent) if last == "-" else _position(last, len(parent) + 1), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise PatchFailed("no such place")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    _find(document, path)
    if not path:
        raise PatchFailed("the document itself cannot be removed")
    parent = _find(document, path[:-1])
    del parent[_index(parent, path[-1])]
    return document
