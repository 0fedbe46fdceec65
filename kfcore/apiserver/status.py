"""Refusals with the real server's words: builders of `kfcore.client.errors`, and the Status body on the wire."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from kfcore.api.codec import encode_json
from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver.request import Response
from kfcore.client.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Cause,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    MethodNotAllowed,
    NotFound,
    StatusDetails,
)

JSON = {"content-type": "application/json"}
MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


class Undecodable(BadRequest):
    """A body has something in it that its kind cannot have. `why` is the decoder's own word for it."""

    def __init__(self, resource: Resource, why: str, kind: str = "", version: str = "") -> None:
        """`kind` and `version` are what the body says that it is, where that is not what `resource` is."""
        self.why = why
        what = f'{kind or resource.kind} in version "{version or resource.version}"'
        super().__init__(f"{what} cannot be handled as a {resource.kind}: {why}")


class FieldError(msgspec.Struct, frozen=True):
    """One rule that a field breaks, as `metadata.name: Invalid value: "X": why`."""

    reason: str
    field: str
    message: str

    @property
    def cause(self) -> Cause:
        return Cause(self.reason, self.message, self.field)


def go_value(value: Any) -> str:
    """A value as the server's messages show it: compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def go_map(value: Any) -> str:
    """A value as Go prints it: `map[a:1 b:[x y]]`."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_map(inner)}" for key, inner in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_map, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)


def invalid_value(field: str, value: Any, why: str) -> FieldError:
    return FieldError("FieldValueInvalid", field, f"Invalid value: {go_value(value)}: {why}")


def required(field: str, why: str = "") -> FieldError:
    return FieldError("FieldValueRequired", field, f"Required value: {why}" if why else "Required value")


def forbidden_field(field: str, why: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, f"Forbidden: {why}")


def unsupported(field: str, value: Any, allowed: Sequence[str]) -> FieldError:
    listed = ", ".join(json.dumps(item) for item in allowed)
    return FieldError(
        "FieldValueNotSupported", field, f"Unsupported value: {go_value(value)}: supported values: {listed}"
    )


def duplicate(field: str, value: Any) -> FieldError:
    return FieldError("FieldValueDuplicate", field, f"Duplicate value: {go_value(value)}")


def not_found_field(field: str, value: Any) -> FieldError:
    return FieldError("FieldValueNotFound", field, f"Not found: {go_value(value)}")


def invalid(resource: Resource, name: str, errors: Sequence[FieldError], *, by_plural: bool = False) -> Invalid:
    """A 422. Custom resources' storage names the plural (`by_plural`) where everything else names the kind."""
    kind = resource.plural if by_plural else resource.kind
    qualified = f"{kind}.{resource.group}" if resource.group else kind
    lines = [f"{error.field}: {error.message}" for error in errors]
    text = lines[0] if len(dict.fromkeys(lines)) == 1 else f"[{', '.join(dict.fromkeys(lines))}]"
    details = StatusDetails(name=name, group=resource.group, kind=kind, causes=[error.cause for error in errors])
    return Invalid(f'{qualified} "{name}" is invalid: {text}', details=details)


def not_found(resource: Resource, name: str) -> NotFound:
    return NotFound(f'{resource.qualified_plural} "{name}" not found', details=_details(resource, name))


def already_exists(resource: Resource, name: str) -> AlreadyExists:
    return AlreadyExists(f'{resource.qualified_plural} "{name}" already exists', details=_details(resource, name))


def conflict(resource: Resource, name: str, why: str = MODIFIED, *, by_kind: bool = False) -> Conflict:
    details = _details(resource, name)
    named = resource.qualified_plural
    if by_kind:
        named = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
        details = msgspec.structs.replace(details, kind=resource.kind)
    return Conflict(f'Operation cannot be fulfilled on {named} "{name}": {why}', details=details)


def forbidden(resource: Resource, name: str, why: str, *causes: Cause) -> Forbidden:
    details = msgspec.structs.replace(_details(resource, name), causes=list(causes))
    return Forbidden(f'{resource.qualified_plural} "{name}" is forbidden: {why}', details=details)


def bad_request(message: str) -> BadRequest:
    return BadRequest(message)


def expired(message: str) -> Gone:
    return Gone(message)


def no_such_resource() -> NotFound:
    return NotFound("the server could not find the requested resource", details=StatusDetails())


def method_not_allowed() -> MethodNotAllowed:
    return MethodNotAllowed("the server does not allow this method on the requested resource", details=StatusDetails())


def _details(resource: Resource, name: str) -> StatusDetails:
    return StatusDetails(name=name, group=resource.group, kind=resource.plural)


def status_body(error: ApiError) -> Manifest:
    """The Status of a refusal; what is empty is left out, as the server does."""
    status = error.status
    body: Manifest = {"kind": "Status", "apiVersion": "v1", "metadata": status.metadata, "status": "Failure"}
    body["message"] = status.message
    if status.reason:
        body["reason"] = status.reason
    if status.details is not None:
        body["details"] = msgspec.to_builtins(status.details)
    body["code"] = status.code
    return body


def error_response(error: ApiError) -> Response:
    headers = dict(JSON)
    if error.status.details and error.status.details.retry_after_seconds:
        headers["retry-after"] = str(error.status.details.retry_after_seconds)
    return Response(error.status.code, headers, encode_json(status_body(error)))


def deleted_status(resource: Resource, name: str, uid: str) -> bytes:
    """What a completed delete is answered with."""
    details = {"name": name, "group": resource.group, "kind": resource.plural, "uid": uid}
    return encode_json(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {key: value for key, value in details.items() if value},
        }
    )
