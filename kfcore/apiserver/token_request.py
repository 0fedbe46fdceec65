"""`POST …/serviceaccounts/NAME/token`: a TokenRequest in, the same with a signed token in its status out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from kfcore.api.codec import encode_json
from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver.authentication import ISSUER, Authentication
from kfcore.apiserver.bodies import check_kind, read_json
from kfcore.apiserver.gate import Gate
from kfcore.apiserver.metadata import timestamp
from kfcore.apiserver.objects import Objects
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.status import JSON, FieldError, bad_request, conflict, invalid, invalid_value

TOKEN_REQUEST = Resource("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests")
DEFAULT_SECONDS, LEAST_SECONDS, MOST_SECONDS = 3600, 600, 1 << 32


def respond(
    request: Request,
    account: Manifest,
    objects: Objects,
    authentication: Authentication,
    gate: Gate | None = None,
) -> Response:
    """Raises Invalid for a time out of range, NotFound and Conflict for a pod that is not there (any more)."""
    body = check_kind(TOKEN_REQUEST, read_json(request.body, "TokenRequest"), custom=False)
    if gate is not None:
        body = gate.post(body)
    spec: Any = body.get("spec") or {}
    if not isinstance(spec, dict):
        raise bad_request("TokenRequest.spec: expected an object")
    audiences = spec.get("audiences") or []
    if not isinstance(audiences, list) or not all(isinstance(audience, str) for audience in audiences):
        raise bad_request("TokenRequest.spec.audiences: expected strings")
    metadata = account["metadata"]
    _check_account(body.get("metadata") or {}, metadata)
    seconds = spec.get("expirationSeconds")
    if seconds is None:
        seconds = DEFAULT_SECONDS
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise bad_request("TokenRequest.spec.expirationSeconds: expected an integer")
    if problem := _out_of_range(seconds):
        raise invalid(TOKEN_REQUEST, metadata["name"], [problem])
    expires = objects.clock.now() + timedelta(seconds=seconds)
    bound = _bound_pod(spec.get("boundObjectRef"), metadata["namespace"], objects)
    token = authentication.issue(account, audiences, expires, bound)
    answer = {
        "kind": "TokenRequest",
        "apiVersion": TOKEN_REQUEST.api_version,
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "creationTimestamp": objects.now(),
        },
        "spec": {
            "audiences": audiences or [ISSUER],
            "expirationSeconds": seconds,
            "boundObjectRef": spec.get("boundObjectRef"),
        },
        "status": {"token": token, "expirationTimestamp": timestamp(expires)},
    }
    return Response(201, dict(JSON), encode_json(answer))


def _check_account(given: Any, metadata: Manifest) -> None:
    if not isinstance(given, dict):
        raise bad_request("TokenRequest.metadata: expected an object")
    for field in ("name", "namespace"):
        if given.get(field) and given[field] != metadata[field]:
            why = f"must match the service account {field} if specified"
            raise invalid(TOKEN_REQUEST, metadata["name"], [invalid_value(f"metadata.{field}", given[field], why)])


def _out_of_range(seconds: int) -> FieldError | None:
    if seconds < LEAST_SECONDS:
        return invalid_value("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds > MOST_SECONDS:
        return invalid_value("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
    return None


def _bound_pod(reference: Any, namespace: str, objects: Objects) -> Manifest | None:
    """The name and uid of the pod that the token shall live as long as; None when it is bound to none."""
    if not isinstance(reference, dict) or reference.get("kind") != "Pod":
        return None
    kind = objects.kinds.at("", "v1", "pods")
    assert kind is not None
    name, uid = str(reference.get("name", "")), reference.get("uid")
    stored = objects.read(kind, namespace, name)
    if uid and uid != stored.uid:
        why = f"the UID in the bound object reference ({uid}) does not match the UID in record ({stored.uid})"
        raise conflict(kind.resource, name, why)
    return {"name": name, "uid": stored.uid}
