"""What a request asks leave for, and who gives it: a request and its route become `Attributes`, an `Authorizer` decides
on them, and a refusal has kube-apiserver's words. The rules of roles and bindings are `rbac.py`'s.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.authentication import (
    ANONYMOUS,
    MASTERS,
    User,
)
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.request import Request
from kfcore.apiserver.routes import Route
from kfcore.client.errors import Forbidden, StatusDetails

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "HEAD": "get"}
_CONNECTED = frozenset({"exec", "attach", "portforward"})
_TRUE = frozenset({"true", "1", "True"})
OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})
"""What anybody may ask for."""


class Attributes(msgspec.Struct, frozen=True):
    """A user, a verb, and what it is done to: a resource (maybe one object of it), or else a `path` of the server."""

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Decision(msgspec.Struct, frozen=True):
    allowed: bool
    reason: str = ""


class Rules(msgspec.Struct, frozen=True):
    """What a user may do in a namespace, as a SelfSubjectRulesReview lists it."""

    resources: list[dict[str, Any]]
    paths: list[dict[str, Any]]


class Authorizer(Protocol):
    def decide(self, attributes: Attributes) -> Decision: ...

    def rules(self, user: User, namespace: str) -> Rules: ...

    def check_grant(self, user: User, kind: ServedKind, manifest: Manifest, before: Manifest | None) -> None:
        """Raises Forbidden for a role or a binding (`before`: as it was) that gives more than `user` may give."""


class Everything:
    """Whoever got in may do everything: a server without roles."""

    def decide(self, attributes: Attributes) -> Decision:
        return Decision(True, "everybody may do everything on this server")

    def rules(self, user: User, namespace: str) -> Rules:
        return Rules(
            [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}], [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
        )

    def check_grant(self, user: User, kind: ServedKind, manifest: Manifest, before: Manifest | None) -> None:
        pass


def user_of(request: Request) -> User:
    return User(request.user, request.groups, request.uid, request.extra)


def attributes_of(request: Request, route: Route | None) -> Attributes:
    """What a request asks leave for."""
    user = user_of(request)
    if route is None:
        return Attributes(user, request.method.lower(), path=request.path)
    verb = _VERBS.get(request.method, "get")
    if request.method == "DELETE":
        verb = "delete" if route.name else "deletecollection"
    elif verb == "get" and not route.name:
        verb = "watch" if request.query.get("watch", "") in _TRUE else "list"
    elif verb == "get" and route.subresource in _CONNECTED:
        verb = "create"  # a WebSocket begins with a GET, and lets in what a POST would
    resource = route.kind.resource
    namespace = route.namespace
    if resource.plural == "namespaces" and not resource.group and route.name:
        namespace = route.name
    return Attributes(
        user, verb, resource.group, resource.version, resource.plural, route.subresource, namespace, route.name
    )


def check(authorizer: Authorizer, request: Request, route: Route | None) -> None:
    """Raises Forbidden for a request that its user may not make."""
    if type(authorizer) is not Everything:
        demand(authorizer, attributes_of(request, route))
    elif request.user == ANONYMOUS.name and request.path not in OPEN_PATHS:
        raise refusal(attributes_of(request, route))


def demand(authorizer: Authorizer, attributes: Attributes) -> None:
    """Raises Forbidden."""
    decision = authorizer.decide(attributes)
    if not decision.allowed:
        raise refusal(attributes, decision.reason)


def refusal(attributes: Attributes, reason: str = "") -> Forbidden:
    """The 403 for `attributes`, in kube-apiserver's words."""
    user, verb = attributes.user.name, attributes.verb
    why = f": {reason}" if reason else ""
    if attributes.path:
        return Forbidden(
            f'forbidden: User "{user}" cannot {verb} path "{attributes.path}"{why}', details=StatusDetails()
        )
    resource, group = attributes.resource, attributes.group
    qualified = f"{resource}.{group}" if group else resource
    named = f'{qualified} "{attributes.name}"' if attributes.name else qualified
    target = f"{resource}/{attributes.subresource}" if attributes.subresource else resource
    scope = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    return Forbidden(
        f'{named} is forbidden: User "{user}" cannot {verb} resource "{target}" in API group "{group}" {scope}{why}',
        details=StatusDetails(name=attributes.name, group=group, kind=resource),
    )


def is_master(user: User) -> bool:
    """Whether no rule can keep the user from anything."""
    return MASTERS in user.groups
