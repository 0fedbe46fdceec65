"""An AdmissionReview's answer: from the bytes that a webhook sent to its verdict, or to what is wrong with them."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.bodies import json_type
from kfcore.apiserver.go_json import syntax_error
from kfcore.client.errors import ApiError, Cause, Status, StatusDetails, error_from_status

GROUP, KIND = "admission.k8s.io", "AdmissionReview"
VERSIONS = ("v1", "v1beta1")
_LEAST_CODE = 400
_TYPES: dict[str, tuple[type, str]] = {
    "allowed": (bool, "bool"),
    "patchType": (str, "v1.PatchType"),
    "warnings": (list, "[]string"),
}


class CallFailed(Exception):
    """A webhook gave no verdict: it could not be reached, or said what is none. Its failure policy decides."""


class Verdict(msgspec.Struct, frozen=True):
    """`patch` are the operations of a JSON patch; `status` is what a denial gives for its reason."""

    allowed: bool
    patch: list[Manifest] = []
    patch_type: str = ""
    warnings: list[str] = []
    status: Manifest | None = None


def review(version: str, uid: str, request: Manifest) -> bytes:
    return encode_json({"kind": KIND, "apiVersion": f"{GROUP}/{version}", "request": {"uid": uid, **request}})


def read_review(body: bytes, version: str, uid: str, *, mutating: bool) -> Verdict:
    """Raises CallFailed in the server's words."""
    answer = _decoded(body)
    response = answer.get("response")
    if not isinstance(response, dict):
        raise _malformed("webhook response was absent")
    _check_types(response)
    if version == "v1":
        _check(answer, response, uid, mutating=mutating)
    patch_type = response.get("patchType") or ("JSONPatch" if response.get("patch") else "")
    status = response.get("status")
    return Verdict(
        response.get("allowed") is True,
        _patch(response.get("patch")) if mutating else [],
        patch_type if mutating else "",
        response.get("warnings") or [],
        status if isinstance(status, dict) else None,
    )


def _decoded(body: bytes) -> Manifest:
    try:
        answer = decode_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = f"couldn't get version/kind; json parse error: {syntax_error(body) or error}"
        raise CallFailed(f"failed to call webhook: {why}") from error
    for field in ("Kind", "apiVersion"):
        name = field[0].lower() + field[1:]
        if not isinstance(answer, dict) or not isinstance(answer.get(name), str) or not answer[name]:
            raise CallFailed(
                f"failed to call webhook: Object '{field}' is missing in '{body.decode(errors='replace')}'"
            )
    return answer  # type: ignore[no-any-return]


def _check_types(response: Manifest) -> None:
    for field, (type_, go_type) in _TYPES.items():
        value = response.get(field)
        texts = value if isinstance(value, list) else ()
        if value is not None and (not isinstance(value, type_) or not all(isinstance(text, str) for text in texts)):
            place = f"AdmissionResponse.response.{field} of type {go_type}"
            raise CallFailed(
                f"failed to call webhook: json: cannot unmarshal {json_type(value)} into Go struct field {place}"
            )


def _check(answer: Manifest, response: Manifest, uid: str, *, mutating: bool) -> None:
    if response.get("uid") != uid:
        raise _malformed(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    if (answer["apiVersion"], answer["kind"]) != (f"{GROUP}/v1", KIND):
        found = f"{answer['apiVersion']}, Kind={answer['kind']}"
        raise _malformed(f"expected webhook response of {GROUP}/v1, Kind={KIND}, got {found}")
    patch, patch_type = response.get("patch"), response.get("patchType")
    if not mutating:
        for field, value in (("patch", patch), ("patchType", patch_type)):
            if value:
                raise _malformed(f"validating webhook may not return response.{field}")
    elif patch and patch_type is None:
        raise _malformed("webhook returned response.patch but not response.patchType")
    elif not patch and patch_type is not None:
        raise _malformed("webhook returned response.patchType but not response.patch")
    elif patch and not patch_type:
        raise _malformed('webhook returned invalid response.patchType of ""')


def _patch(encoded: Any) -> list[Manifest]:
    if not encoded:
        return []
    try:
        operations = decode_json(base64.b64decode(encoded, validate=True))
    except (msgspec.DecodeError, binascii.Error, TypeError, ValueError, RecursionError) as error:
        raise CallFailed(f"received undecodable patch in webhook response: {error}") from error
    if operations is None:
        return []
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise CallFailed("received undecodable patch in webhook response: expected a list of operations")
    return operations


def _malformed(why: str) -> CallFailed:
    return CallFailed(f"received invalid webhook response: {why}")


def denial(webhook: str, given: Manifest | None) -> ApiError:
    """The refusal of who was denied: the webhook's own status, with its name before what it says."""
    status = given or {}
    said = status.get("message") or status.get("reason")
    denied = f'admission webhook "{webhook}" denied the request'
    code = status.get("code")
    return error_from_status(
        Status(
            metadata={},
            message=f"{denied}: {said}" if said else f"{denied} without explanation",
            reason=str(status.get("reason") or ""),
            details=_details(status.get("details")),
            code=code if isinstance(code, int) and code >= _LEAST_CODE else _LEAST_CODE,
        )
    )


def _details(given: Any) -> StatusDetails | None:
    try:
        return msgspec.convert(given, StatusDetails) if isinstance(given, dict) else None
    except msgspec.ValidationError:
        return None


def internal(why: str) -> Status:
    """What a request fails with whose webhook gave no verdict."""
    return Status(
        message=f"Internal error occurred: {why}",
        reason="InternalError",
        details=StatusDetails(causes=[Cause(message=why)]),
        code=500,
    )
