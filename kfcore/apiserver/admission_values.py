"""What CEL expressions about a request are about: its objects, and `authorizer`, by which they ask what who may do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.admission_attributes import AdmissionAttributes
from kfcore.apiserver.authentication import User
from kfcore.apiserver.authorization import Attributes, Authorizer, Decision

_authorizer: ContextVar[Authorizer] = ContextVar("authorizer")


@contextmanager
def answered_by(authorizer: Authorizer) -> Iterator[None]:
    """Who answers expressions evaluated within."""
    token = _authorizer.set(authorizer)
    try:
        yield
    finally:
        _authorizer.reset(token)


def decide(attributes: Attributes) -> Decision:
    return _authorizer.get().decide(attributes)


def condition_values(attributes: AdmissionAttributes, request: Manifest) -> Manifest:
    """The values of an expression's variables; `request` is that of an AdmissionReview."""
    return {
        "object": attributes.object,
        "oldObject": attributes.old,
        "request": {key: value for key, value in request.items() if key not in ("object", "oldObject")},
        "authorizer": _authorizer_value(attributes),
    }


def _authorizer_value(attributes: AdmissionAttributes) -> Mapping[str, Any]:
    """Its `requestResource` is what the request is about."""
    user: User = attributes.user
    resource = attributes.kind.resource
    asking = {"authorizer.user": user.name, "authorizer.groups": list(user.groups)}
    about = {
        "authorizer.group": resource.group,
        "authorizer.version": resource.version,
        "authorizer.resource": resource.plural,
        "authorizer.subresource": attributes.subresource,
        "authorizer.namespace": attributes.namespace,
        "authorizer.name": attributes.name,
    }
    return {**asking, "requestResource": {**asking, **about}}
