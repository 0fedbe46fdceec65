"""What a pod says of other pods: near whom it wants to be and away from whom, by labels, namespaces and the node label
that tells what near is. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from kfcore.api.meta import Manifest
from kfcore.client.selectors import LabelSelector, Requirement
from kfcore_local.scheduling.kinds import SchedulablePod

NEAR, AWAY_FROM = "podAffinity", "podAntiAffinity"
NamespaceLabels = Callable[[str], Mapping[str, str]]


class Term(msgspec.Struct, frozen=True):
    """Pods, and the node label whose value is to be the same as theirs, or another. Without a selector it is none."""

    selector: LabelSelector | None
    namespaces: frozenset[str]
    namespace_selector: LabelSelector | None
    topology_key: str
    weight: int = 0

    def means(self, pod: SchedulablePod, namespace_labels: NamespaceLabels) -> bool:
        if self.selector is None or not self.selector.matches(pod.metadata.labels):
            return False
        if pod.namespace in self.namespaces:
            return True
        chosen = self.namespace_selector
        return chosen is not None and chosen.matches(namespace_labels(pod.namespace))


def required(pod: SchedulablePod, kind: str) -> tuple[Term, ...]:
    """The terms without which it does not run; `kind` is NEAR or AWAY_FROM."""
    if not pod.spec.affinity:
        return ()
    given = pod.spec.affinity.get(kind) or {}
    return tuple(_term(pod, term) for term in given.get("requiredDuringSchedulingIgnoredDuringExecution") or ())


def preferred(pod: SchedulablePod) -> tuple[Term, ...]:
    """What it would rather have; a negative weight is that of pods to be away from."""
    if not pod.spec.affinity:
        return ()
    return tuple(
        _term(pod, entry.get("podAffinityTerm") or {}, sign * int(entry.get("weight") or 0))
        for kind, sign in ((NEAR, 1), (AWAY_FROM, -1))
        for entry in (pod.spec.affinity.get(kind) or {}).get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    )


def selector_of(
    pod: SchedulablePod, spec: Manifest | None, same: list[str], other: list[str] | None = None
) -> LabelSelector | None:
    """A selector with those of the pod's own labels that are to be the `same`, or `other`. None selects nothing."""
    if spec is None:
        return None
    more = [
        Requirement(key, operator, frozenset({pod.metadata.labels[key]}))
        for operator, keys in (("in", same), ("notin", other or []))
        for key in keys
        if key in pod.metadata.labels
    ]
    return LabelSelector((*LabelSelector.from_spec(spec).requirements, *more))


def _term(pod: SchedulablePod, term: Manifest, weight: int = 0) -> Term:
    namespaces, by_labels = term.get("namespaces") or (), term.get("namespaceSelector")
    if not namespaces and by_labels is None:
        namespaces = (pod.namespace,)
    same, other = term.get("matchLabelKeys") or [], term.get("mismatchLabelKeys") or []
    return Term(
        selector_of(pod, term.get("labelSelector"), same, other),
        frozenset(namespaces),
        None if by_labels is None else LabelSelector.from_spec(by_labels),
        term.get("topologyKey") or "",
        weight,
    )
