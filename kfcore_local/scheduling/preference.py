"""Which of several nodes a pod likes best: preferred affinity to nodes and pods, taints that only discourage, and an
even spread that is only wished for. Pure; looked at where there is a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kfcore_local.scheduling.affinity import matches_term, tolerates
from kfcore_local.scheduling.kinds import SchedulableNode, SchedulablePod
from kfcore_local.scheduling.others import Others
from kfcore_local.scheduling.spread import PREFERRED, Spread
from kfcore_local.scheduling.terms import preferred

_TAINTS, _NODES, _PODS, _EVEN = 3.0, 2.0, 2.0, 2.0
"""kube-scheduler's weights of these."""


def best(pod: SchedulablePod, nodes: Sequence[SchedulableNode], others: Others) -> SchedulableNode:
    """Of equals the first."""
    spread = Spread(pod, others, PREFERRED)
    wishes: tuple[tuple[float, Callable[[SchedulableNode], float]], ...] = (
        (_TAINTS, lambda node: -_discouraging_taints(pod, node)),
        (_NODES, lambda node: _node_weight(pod, node)),
        (_PODS, _pod_weights(pod, others)),
        (_EVEN, lambda node: -spread.crowd(node)),
    )
    total = [0.0] * len(nodes)
    for weight, wish in wishes:
        found = [wish(node) for node in nodes]
        least, span = min(found), max(found) - min(found)
        if span:
            total = [so_far + weight * (value - least) / span for so_far, value in zip(total, found, strict=True)]
    return nodes[total.index(max(total))]


def _discouraging_taints(pod: SchedulablePod, node: SchedulableNode) -> int:
    discouraging = [taint for taint in node.spec.taints if taint.effect == "PreferNoSchedule"]
    return sum(not tolerates(pod.spec.tolerations, taint) for taint in discouraging)


def _node_weight(pod: SchedulablePod, node: SchedulableNode) -> int:
    wished = (pod.spec.affinity.get("nodeAffinity") or {}).get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return sum(int(wish.get("weight") or 0) for wish in wished if matches_term(wish.get("preference") or {}, node))


def _pod_weights(pod: SchedulablePod, others: Others) -> Callable[[SchedulableNode], float]:
    """Of the pods in a node's domains: what this one wishes of them, and they of it."""
    weights: dict[tuple[str, str], int] = {}
    known, wishes = others.namespace_labels, preferred(pod)
    for placed in others.placed:
        labels = others.labels_under(placed)
        concerned = [term for term in wishes if term.means(placed.pod, known)]
        concerned += [term for term in preferred(placed.pod) if term.means(pod, known)]
        for term in concerned:
            if (value := labels.get(term.topology_key)) is not None:
                domain = term.topology_key, value
                weights[domain] = weights.get(domain, 0) + term.weight
    return lambda node: sum(weights.get(domain, 0) for domain in node.metadata.labels.items())
