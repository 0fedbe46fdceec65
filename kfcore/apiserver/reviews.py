"""Kinds that are answered and never stored: access reviews, token reviews. What may be done is the authorizer's to
say, and whose a token is `authentication.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kfcore.api.codec import encode_json
from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver.authentication import ISSUER, Authentication, User, user_info
from kfcore.apiserver.authorization import Attributes, Authorizer, user_of
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.routes import Route
from kfcore.apiserver.status import JSON, FieldError, bad_request, invalid, invalid_value, method_not_allowed


class Reviews:
    def __init__(self, authentication: Authentication, authorizer: Callable[[], Authorizer]) -> None:
        self._authentication = authentication
        self._authorizer = authorizer

    def answer(self, route: Route, body: Manifest, request: Request) -> Response:
        """The review with its status. Raises MethodNotAllowed for a kind that is not a review."""
        resource = route.kind.resource
        spec = body.get("spec") or {}
        if not isinstance(spec, dict):
            raise bad_request(f"{resource.kind}.spec: expected an object")
        if errors := list(_problems(route, body, spec)):
            unnamed = Resource(resource.group, resource.version, "", resource.plural)
            raise invalid(unnamed, "", errors)
        match resource.kind:
            case "SelfSubjectAccessReview":
                status = self._access(user_of(request), spec)
            case "SubjectAccessReview" | "LocalSubjectAccessReview":
                status = self._access(_reviewed_user(spec, resource.kind), spec)
            case "SelfSubjectRulesReview":
                if not spec.get("namespace"):
                    raise bad_request("no namespace on request")
                rules = self._authorizer().rules(user_of(request), str(spec.get("namespace") or ""))
                status = {"resourceRules": rules.resources, "nonResourceRules": rules.paths, "incomplete": False}
            case "SelfSubjectReview":
                status = {"userInfo": user_info(user_of(request))}
            case "TokenReview":
                status = self._token(spec)
            case _:
                raise method_not_allowed()
        identity = {"kind": resource.kind, "apiVersion": resource.api_version}
        metadata = {"creationTimestamp": None} if resource.kind.startswith("Self") else {}
        review = {**identity, "metadata": metadata, "spec": spec, "status": status}
        if resource.kind == "SelfSubjectReview":
            del review["spec"]
        return Response(201, dict(JSON), encode_json(review))

    def _access(self, user: User, spec: Manifest) -> Manifest:
        resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
        if not isinstance(other if resource is None else resource, dict):
            raise bad_request("resourceAttributes and nonResourceAttributes are objects")
        if other is not None:
            attributes = Attributes(user, _text(other, "verb"), path=_text(other, "path") or "/")
        else:
            assert resource is not None
            fields = ("group", "version", "resource", "subresource", "namespace", "name")
            attributes = Attributes(
                user, _text(resource, "verb"), **{field: _text(resource, field) for field in fields}
            )
        decision = self._authorizer().decide(attributes)
        return {"allowed": decision.allowed, **({"reason": decision.reason} if decision.reason else {})}

    def _token(self, spec: Manifest) -> Manifest:
        token = spec.get("token")
        if not isinstance(token, str) or not token:
            raise bad_request("token is required for TokenReview in authentication")
        user = self._authentication.authenticate(token)
        if user is None:
            return {"authenticated": False, "user": {}, "error": "the token is none of this server's, or has run out"}
        return {"authenticated": True, "user": user_info(user), "audiences": spec.get("audiences") or [ISSUER]}


def _problems(route: Route, body: Manifest, spec: Manifest) -> Iterator[FieldError]:
    """The rules of access reviews, which the real server answers for without naming their kind."""
    kind = route.kind.resource.kind
    if not kind.endswith("SubjectAccessReview"):
        return
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and other is not None:
        why = "cannot be specified in combination with resourceAttributes"
        yield invalid_value("spec.nonResourceAttributes", other, why)
    if resource is None and other is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        yield invalid_value("spec.resourceAttributes", None, why)
    if not kind.startswith("Self") and not spec.get("user") and not spec.get("groups"):
        yield invalid_value("spec.user", "", "at least one of user or group must be specified")
    if kind != "LocalSubjectAccessReview":
        return
    if isinstance(resource, dict) and resource.get("namespace", "") != route.namespace:
        why = "must match metadata.namespace"
        yield invalid_value("spec.resourceAttributes.namespace", resource.get("namespace", ""), why)
    if other is not None:
        yield invalid_value("spec.nonResourceAttributes", other, "disallowed on this kind of request")


def _reviewed_user(spec: Manifest, kind: str) -> User:
    groups = spec.get("groups") or ()
    if not isinstance(groups, list | tuple) or not all(isinstance(group, str) for group in groups):
        raise bad_request(f"{kind}.spec.groups: expected strings")
    return User(_text(spec, "user"), tuple(groups))


def _text(values: Manifest, field: str) -> str:
    value: Any = values.get(field) or ""
    if not isinstance(value, str):
        raise bad_request(f"{field}: expected a string")
    return value
