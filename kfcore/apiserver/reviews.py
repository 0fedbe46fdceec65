"""Kinds that are answered and never stored: access reviews, token reviews, bindings.

Without an authorizer whoever got in may do everything, and that is what the reviews say.
"""

from __future__ import annotations

from kfcore.api.codec import encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.status import JSON, bad_request, method_not_allowed

_ALLOWED: Manifest = {"allowed": True, "reason": "everybody may do everything on this server"}
_EVERYTHING = {
    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    "incomplete": False,
}
_GROUPS = ["system:masters", "system:authenticated"]


def answer(kind: ServedKind, body: Manifest, request: Request) -> Response:
    """The review with its status. Raises MethodNotAllowed for a kind that is not a review."""
    spec = body.get("spec") or {}
    if not isinstance(spec, dict):
        raise bad_request(f"{kind.resource.kind}.spec: expected an object")
    match kind.resource.kind:
        case "SelfSubjectAccessReview" | "SubjectAccessReview" | "LocalSubjectAccessReview":
            if bool(spec.get("resourceAttributes")) == bool(spec.get("nonResourceAttributes")):
                raise bad_request("exactly one of nonResourceAttributes or resourceAttributes must be specified")
            status = _ALLOWED
        case "SelfSubjectRulesReview":
            status = _EVERYTHING
        case "SelfSubjectReview":
            status = {"userInfo": {"username": request.user, "groups": _GROUPS}}
        case "TokenReview":
            status = {"authenticated": False, "user": {}, "error": "tokens are checked where requests come in"}
        case _:
            raise method_not_allowed()
    resource = kind.resource
    review = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": {}, "spec": spec, "status": status}
    return Response(201, dict(JSON), encode_json(review))
