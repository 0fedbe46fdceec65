"""A change → the requests that it asks for. The informers' changes come in; what comes out goes to the work queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from kfcore.api.meta import Object
from kfcore.cache.informer import Change

T = TypeVar("T", bound=Object)


class Request(NamedTuple):
    """Which object to reconcile. `namespace` is empty for a cluster-scoped one."""

    namespace: str
    name: str

    @property
    def key(self) -> str:
        """`namespace/name`, or the name alone for a cluster-scoped object."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @classmethod
    def of(cls, obj: Object) -> Request:
        return cls(obj.metadata.namespace, obj.metadata.name)


Handler = Callable[[Change[Any]], Iterable[Request]]


def enqueue_object(change: Change[Any]) -> Iterable[Request]:
    """The changed object itself: for the kind that the controller is about."""
    return (Request.of(change.object),)


def enqueue_owner(owner: type[Object]) -> Handler:
    """The changed object's controlling owner, if it is of the kind `owner`; after a change of owner, both."""
    group, kind, namespaced = owner.resource.group, owner.resource.kind, owner.resource.namespaced

    def handler(change: Change[Any]) -> Iterable[Request]:
        requests = []
        for obj in (change.old, change.new):
            if obj is None:
                continue
            for reference in obj.metadata.owner_references:
                if reference.controller and reference.kind == kind and _group(reference.api_version) == group:
                    request = Request(obj.metadata.namespace if namespaced else "", reference.name)
                    if request not in requests:
                        requests.append(request)
        return requests

    return handler


def enqueue_mapped(function: Callable[[T], Iterable[Request]]) -> Handler:
    """What `function` makes of the object; after a change, of its old and its new state."""

    def handler(change: Change[T]) -> Iterable[Request]:
        states = [state for state in (change.old, change.new) if state is not None]
        return dict.fromkeys(request for state in states for request in function(state))

    return handler


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]
