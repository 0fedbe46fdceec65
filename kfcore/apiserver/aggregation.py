"""Aggregated ClusterRoles: the rules of the roles that a role's selectors find are written to it, as a cluster's
controller does, whenever a ClusterRole changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from kfcore.api.meta import Manifest

if TYPE_CHECKING:
    from kfcore.apiserver.kinds import ServedKind
    from kfcore.apiserver.objects import Objects
    from kfcore.apiserver.storage import Stored

_GROUP, _PLURAL = "rbac.authorization.k8s.io", "clusterroles"


class AggregatedRoles:
    def __init__(self, objects: Objects) -> None:
        kind = objects.kinds.at(_GROUP, "v1", _PLURAL)
        assert kind is not None
        self._objects = objects
        self._kind = kind
        self._collection = objects.collection(kind)
        objects.on_change.append(self._changed)

    def _changed(self, kind: ServedKind, previous: Stored | None, current: Stored | None) -> None:
        if kind.storage != self._kind.storage:
            return
        roles = list(self._collection.select())
        for stored in roles:
            selectors = (stored.manifest.get("aggregationRule") or {}).get("clusterRoleSelectors")
            if not selectors or "deletionTimestamp" in stored.manifest["metadata"]:
                continue
            rules: list[Manifest] = []
            for other in roles:
                if other.key != stored.key and any(_selects(selector, other.labels) for selector in selectors):
                    rules += [rule for rule in other.manifest.get("rules") or () if rule not in rules]
            if rules != (stored.manifest.get("rules") or []):
                self._objects.update(self._kind, *stored.key, _with_rules(rules))
                return  # which has come back here, and seen to the rest


def _with_rules(rules: list[Manifest]) -> Callable[[Manifest], Manifest]:
    return lambda role: {**role, "rules": rules}


def _selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels") or {}
    if not all(labels.get(key) == value for key, value in wanted.items()):
        return False
    return all(_meets(requirement, labels) for requirement in selector.get("matchExpressions") or ())


def _meets(requirement: Manifest, labels: Mapping[str, str]) -> bool:
    key, values = requirement.get("key", ""), requirement.get("values") or []
    match requirement.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels
