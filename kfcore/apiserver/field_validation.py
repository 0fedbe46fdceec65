"""What a body says that its kind has no field for, or says twice: refused (`fieldValidation=Strict`), told in Warning
headers (`Warn`, what servers do unasked) or passed over (`Ignore`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.metadata import KNOWN
from kfcore.apiserver.request import Request
from kfcore.apiserver.status import Undecodable, bad_request
from kfcore.client.errors import ApiError

_TOLD = 256


class FieldValidation:
    """How one request wants it. `warnings` are for its answer."""

    def __init__(self, request: Request, kind: ServedKind, refusal: Callable[[str], ApiError] | None = None) -> None:
        """`refusal` is what strictness answers with, where that is not that the body is none of the kind."""
        # In-process callers see no headers: to look would cost them time for nothing.
        unasked = "Warn" if "user-agent" in request.headers else "Ignore"
        self._way = request.query.get("fieldValidation") or unasked
        self._kind = kind
        self._refusal = refusal or partial(Undecodable, kind.resource)
        self.warnings: list[str] = []

    def check_body(self, body: bytes, manifest: Manifest) -> None:
        """Look for what a body says twice, and for unknown metadata."""
        if self._way != "Ignore":
            self.warnings += [*_repeated(body, manifest), *_unknown_metadata(manifest)]

    def check_patch(self, body: bytes, patch: Any) -> None:
        """Look for what a patch says twice, and for what no operation of a JSON patch has."""
        if self._way != "Ignore":
            lead = "json patch " if isinstance(patch, list) else ""
            self.warnings += [f"{lead}{text}" for text in (*_repeated(body, patch), *_unknown_operands(patch))]

    def check_patched(self, manifest: Manifest) -> None:
        if self._way != "Ignore":
            self.warnings += _unknown_metadata(manifest)

    def check_yaml(self, body: bytes) -> None:
        """Look for what an apply says twice. Raises BadRequest for it, where strictness is asked for."""
        if self._way == "Ignore":
            return
        for number, key in repeated_in_yaml(body):
            why = f'yaml: unmarshal errors:\n  line {number}: key "{key}" already set in map'
            if self._way == "Strict":
                raise bad_request(f"error strict decoding YAML: error converting YAML to JSON: {why}")
            self.warnings.append(f"error converting YAML to JSON: {why}")

    def unknown(self, places: list[str]) -> None:
        """Take in what decoding dropped. Raises the refusal for anything found, where strictness is asked for."""
        if self._way == "Ignore":
            return
        self.warnings += [f'unknown field "{place}"' for place in places]
        if self.warnings and self._way == "Strict":
            raise self._refusal(f"strict decoding error: {', '.join(self.warnings)}")

    @property
    def header(self) -> str:
        """The value of the Warning header; empty for none."""
        return ", ".join(f"299 - {json.dumps(text[:_TOLD])}" for text in self.warnings)


def _unknown_metadata(manifest: Manifest) -> list[str]:
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        return []
    return [f'unknown field "metadata.{name}"' for name in metadata if name not in KNOWN]


def _names(value: Any) -> int:
    """How many names of fields there are in a JSON value."""
    if isinstance(value, dict):
        return len(value) + sum([_names(inner) for inner in value.values() if isinstance(inner, dict | list)])
    return sum([_names(inner) for inner in value if isinstance(inner, dict | list)])


_OPERANDS = frozenset({"op", "path", "from", "value"})


def _unknown_operands(patch: Any) -> list[str]:
    operations = enumerate(patch) if isinstance(patch, list) else ()
    return [f'unknown field "[{index}].{name}"' for index, operation in operations for name in operation
            if name not in _OPERANDS]  # fmt: skip


def repeated_in_yaml(body: bytes) -> Iterator[tuple[int, str]]:
    """The keys that a mapping of a YAML document has again, with their lines."""
    import yaml

    def look(node: Any) -> Iterator[tuple[int, str]]:
        seen: set[str] = set()
        for child in node.value if isinstance(node, yaml.CollectionNode) else ():
            key, value = child if isinstance(child, tuple) else (None, child)
            if key is not None:
                if key.value in seen:
                    yield key.start_mark.line + 1, key.value
                seen.add(str(key.value))
            yield from look(value)

    yield from look(yaml.compose(body, Loader=yaml.SafeLoader))


def _repeated(body: bytes, manifest: Any) -> list[str]:
    """What a JSON object says twice, of which the last counts. A body that has no more names than its content need not
    be looked through.
    """
    if body.count(b'":') == _names(manifest) or body.lstrip()[:1] not in (b"{", b"["):
        return []
    found: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> _Object:
        last = {name: number for number, (name, _) in enumerate(items)}
        return _Object(items, [name for number, (name, _) in enumerate(items) if last[name] != number])

    try:
        root = json.loads(body, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return []
    _collect(root, "", found)
    return found


class _Object:
    def __init__(self, items: list[tuple[str, Any]], again: list[str]) -> None:
        self.items = items
        self.again = again


def _collect(value: Any, place: str, found: list[str]) -> None:
    if isinstance(value, _Object):
        found += [f'duplicate field "{place}.{name}"' if place else f'duplicate field "{name}"' for name in value.again]
        for name, inner in value.items:
            _collect(inner, f"{place}.{name}" if place else name, found)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _collect(inner, f"{place}[{index}]", found)
