"""One patch request: from its body and media type to the change that it makes of an object (`patch.py`,
`strategic.py`), and the refusal of one that leaves no object of the kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver import strategic
from kfcore.apiserver.bodies import check_kind, check_size, json_type
from kfcore.apiserver.go_json import syntax_error
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.patch import json_patch, merge_patch
from kfcore.apiserver.status import Undecodable, bad_request, go_map, invalid, invalid_value
from kfcore.apiserver.typed import type_of
from kfcore.client.errors import ApiError, UnsupportedMediaType

JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
_NO_KIND = Resource("", "", "", "")


class Patcher:
    """What a patch makes of an object. Raises BadRequest for a body that is no patch of its media type."""

    def __init__(self, kind: ServedKind, type_: str, body: bytes) -> None:
        self._resource = kind.resource
        self._custom = kind.custom
        self._change = _change_of(kind, type_)
        self.patch = _read_patch(type_, body)
        self._strategic = type_ == STRATEGIC
        self._shown = ""

    def apply(self, manifest: Manifest) -> Manifest:
        """The object as patched; `manifest` may be changed in place."""
        patched = self._change(manifest, self.patch)
        self._shown = go_map(self.patch) if self._strategic else encode_json(patched).decode()
        if self._strategic and isinstance(patched, dict):  # its types are the object's, whatever it says
            patched = {**patched, "kind": self._resource.kind, "apiVersion": self._resource.api_version}
        return check_kind(self._resource, patched, custom=self._custom)

    def refusal(self, why: str) -> ApiError:
        """Of a patch after which the object is none of the kind."""
        return invalid(_NO_KIND, "", [invalid_value("patch", self._shown, why)])

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Where the patched object is read: what cannot be is the patch's fault."""
        try:
            yield
        except Undecodable as error:
            raise self.refusal(error.why) from error


def _change_of(kind: ServedKind, type_: str) -> Callable[[Any, Any], Any]:
    match type_:
        case "application/merge-patch+json":
            return merge_patch
        case "application/json-patch+json":
            return json_patch
        case "application/strategic-merge-patch+json" if not kind.custom:
            return partial(strategic.strategic_patch, type_=type_of(kind))
        case _:
            raise unsupported_patch(kind)


def unsupported_patch(kind: ServedKind) -> UnsupportedMediaType:
    if kind.custom:
        return UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            f"{', '.join((JSON_PATCH, MERGE, APPLY))}"
        )
    return UnsupportedMediaType("415: Unsupported Media Type")


def _read_patch(type_: str, body: bytes) -> Any:
    """A patch's body. Raises BadRequest for one that is not JSON, or not of the form that its media type has."""
    check_size(body)
    lead = "" if type_ == STRATEGIC else "error decoding patch: "
    try:
        patch = decode_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"{lead}{syntax_error(body) or error}") from error
    expected: type = list if type_ == JSON_PATCH else dict
    if not isinstance(patch, expected):
        go_type = "[]handlers.jsonPatchOp" if expected is list else "map[string]interface {}"
        raise bad_request(f"{lead}json: cannot unmarshal {json_type(patch)} into Go value of type {go_type}")
    operations: Any = patch if type_ == JSON_PATCH else ()
    for operation in operations:
        if not isinstance(operation, dict):
            found = json_type(operation)
            raise bad_request(f"{lead}json: cannot unmarshal {found} into Go value of type handlers.jsonPatchOp")
    return patch
