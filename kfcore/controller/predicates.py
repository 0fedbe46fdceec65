"""Which changes matter: asked before a handler, so that what does not matter is not even enqueued.

A predicate is a function of a `Change`. Those about a difference let additions, deletions and replays pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kfcore.cache.informer import Change
from kfcore.client.selectors import LabelSelector

Predicate = Callable[[Change[Any]], bool]


def generation_changed(change: Change[Any]) -> bool:
    """The spec changed (of kinds that count generations), not merely status or metadata."""
    return _differs(change, lambda obj: obj.metadata.generation)


def resource_version_changed(change: Change[Any]) -> bool:
    """Anything changed: leaves resyncs out."""
    if change.old is None or change.new is None:
        return True
    return bool(change.old.metadata.resource_version != change.new.metadata.resource_version)


def labels_changed(change: Change[Any]) -> bool:
    return _differs(change, lambda obj: obj.metadata.labels)


def annotations_changed(change: Change[Any]) -> bool:
    return _differs(change, lambda obj: obj.metadata.annotations)


def labels_match(selector: LabelSelector | str) -> Predicate:
    """The object has such labels, or had them before the change."""
    parsed = LabelSelector.parse(selector) if isinstance(selector, str) else selector

    def predicate(change: Change[Any]) -> bool:
        return any(obj is not None and parsed.matches(obj.metadata.labels) for obj in (change.new, change.old))

    return predicate


def all_of(*predicates: Predicate) -> Predicate:
    return lambda change: all(predicate(change) for predicate in predicates)


def any_of(*predicates: Predicate) -> Predicate:
    return lambda change: any(predicate(change) for predicate in predicates)


def negate(predicate: Predicate) -> Predicate:
    return lambda change: not predicate(change)


def _differs(change: Change[Any], value_of: Callable[[Any], Any]) -> bool:
    if change.old is None or change.new is None or change.replay:
        return True
    return bool(value_of(change.old) != value_of(change.new))
