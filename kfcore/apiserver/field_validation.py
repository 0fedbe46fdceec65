"""What a body says that its kind has no field for, or says twice: refused (`fieldValidation=Strict`), told in Warning
headers (`Warn`, what servers do unasked) or passed over (`Ignore`).
"""

from __future__ import annotations

import json
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.metadata import KNOWN
from kfcore.apiserver.ownership import OPTIONS
from kfcore.apiserver.request import Request
from kfcore.apiserver.status import bad_request, invalid, unsupported

_WAYS = ("Ignore", "Strict", "Warn")
_TOLD = 256


class FieldValidation:
    """How one request wants it. `warnings` are for its answer."""

    def __init__(self, request: Request, kind: ServedKind) -> None:
        """Raises Invalid for a way that there is not."""
        # In-process callers see no headers: to look would cost them time for nothing.
        unasked = "Warn" if "user-agent" in request.headers else "Ignore"
        self._way = request.query.get("fieldValidation") or unasked
        if self._way not in _WAYS:
            raise invalid(OPTIONS[request.method], "", [unsupported("fieldValidation", self._way, _WAYS)])
        self._kind = kind
        self.warnings: list[str] = []

    def check_body(self, body: bytes, manifest: Manifest) -> None:
        """Look for what a body says twice, and for unknown metadata."""
        if self._way != "Ignore":
            self.warnings += [*_repeated(body, manifest), *_unknown_metadata(manifest)]

    def check_patched(self, manifest: Manifest) -> None:
        if self._way != "Ignore":
            self.warnings += _unknown_metadata(manifest)

    def unknown(self, places: list[str]) -> None:
        """Take in what decoding dropped. Raises BadRequest for anything found, where strictness is asked for."""
        if self._way == "Ignore":
            return
        self.warnings += [f'unknown field "{place}"' for place in places]
        if self.warnings and self._way == "Strict":
            resource = self._kind.resource
            raise bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: strict '
                f"decoding error: {', '.join(self.warnings)}"
            )

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


def _repeated(body: bytes, manifest: Manifest) -> list[str]:
    """What a JSON object says twice, of which the last counts. A body that has no more names than its content need not
    be looked through.
    """
    if body.count(b'":') == _names(manifest) or body.lstrip()[:1] != b"{":
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
