"""What a body says that its kind has no field for, or says twice: refused (`fieldValidation=Strict`), told in Warning
headers (`Warn`, what servers do unasked) or passed over (`Ignore`).
"""

from __future__ import annotations

import json
from typing import Any

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.metadata import KNOWN
from kfcore.apiserver.ownership import OPTIONS
from kfcore.apiserver.request import Request
from kfcore.apiserver.status import bad_request, invalid, unsupported
from kfcore.apiserver.strategy import Strategy

_WAYS = ("Ignore", "Strict", "Warn")
_TOLD = 256


class FieldValidation:
    """How one request wants it. `warnings` are for its answer."""

    def __init__(self, request: Request, kind: ServedKind, strategy: Strategy) -> None:
        """Raises Invalid for a way that there is not."""
        # In-process callers see no headers: to look would cost them time for nothing.
        unasked = "Warn" if "user-agent" in request.headers else "Ignore"
        self._way = request.query.get("fieldValidation") or unasked
        if self._way not in _WAYS:
            raise invalid(OPTIONS[request.method], "", [unsupported("fieldValidation", self._way, _WAYS)])
        self._kind = kind
        self._strategy = strategy
        self.warnings: list[str] = []

    def check_body(self, body: bytes, manifest: Manifest) -> None:
        """Look through a whole object. Raises BadRequest where strictness is asked for."""
        if self._way != "Ignore":
            self._tell([*_repeated(body, manifest), *self._unknown(manifest)])

    def check(self, manifest: Manifest) -> None:
        """Look through what a patch made."""
        if self._way != "Ignore":
            self._tell(self._unknown(manifest))

    @property
    def header(self) -> str:
        """The value of the Warning header; empty for none."""
        return ", ".join(f"299 - {json.dumps(text[:_TOLD])}" for text in self.warnings)

    def _tell(self, problems: list[str]) -> None:
        if problems and self._way == "Strict":
            resource = self._kind.resource
            raise bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: strict '
                f"decoding error: {', '.join(problems)}"
            )
        self.warnings += problems

    def _unknown(self, manifest: Manifest) -> list[str]:
        places = self._strategy.decode(decode_json(encode_json(manifest)))
        metadata = manifest.get("metadata")
        if isinstance(metadata, dict):
            places = [f"metadata.{name}" for name in metadata if name not in KNOWN] + places
        return [f'unknown field "{place}"' for place in places]


def _repeated(body: bytes, manifest: Manifest) -> list[str]:
    """What a JSON object says twice, of which the last counts. Compact JSON without repetition is as long as its
    content, so that it need not be looked through.
    """
    if len(body.strip()) == len(encode_json(manifest)) or body.lstrip()[:1] != b"{":
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
