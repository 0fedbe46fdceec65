"""An even spread of pods over the domains of a node label (`topologySpreadConstraints`). Pure."""

from __future__ import annotations

from kfcore.client.selectors import LabelSelector
from kfcore_local.scheduling.affinity import repelling_taint, wants
from kfcore_local.scheduling.kinds import SchedulableNode, SchedulablePod, SpreadConstraint
from kfcore_local.scheduling.others import Others
from kfcore_local.scheduling.terms import selector_of

UNEVEN = "node(s) didn't match pod topology spread constraints"
NO_LABEL = f"{UNEVEN} (missing required label)"
REQUIRED, PREFERRED = "DoNotSchedule", "ScheduleAnyway"


class Spread:
    """What the constraints of a pod that must be kept say of each node."""

    def __init__(self, pod: SchedulablePod, others: Others, when: str = REQUIRED) -> None:
        given = [item for item in pod.spec.topology_spread_constraints if item.when_unsatisfiable == when]
        keys = {constraint.topology_key for constraint in given}
        self._counted = [Count(pod, constraint, others, keys) for constraint in given]

    def refusal(self, node: SchedulableNode) -> tuple[str, bool] | None:
        """Why not there, and whether it could be there without some other pods."""
        if any(count.key not in node.metadata.labels for count in self._counted):
            return NO_LABEL, False
        if any(count.skew_with_one_on(node) > count.most for count in self._counted):
            return UNEVEN, True
        return None

    def crowd(self, node: SchedulableNode) -> int:
        """How many pods are in the node's domains already."""
        return sum(count.on(node) for count in self._counted)


class Count:
    """How many pods of a constraint's selector each domain has. `keys` are the labels without which a node has no part
    in it."""

    def __init__(self, pod: SchedulablePod, constraint: SpreadConstraint, others: Others, keys: set[str]) -> None:
        self.key, self.most = constraint.topology_key, constraint.max_skew
        selector = selector_of(pod, constraint.label_selector, constraint.match_label_keys)
        self._one = int(_selects(selector, pod))
        taking_part = {
            node.name
            for node in others.nodes.values()
            if keys <= node.metadata.labels.keys() and _takes_part(pod, constraint, node)
        }
        self._pods = {others.nodes[name].metadata.labels[self.key]: 0 for name in taking_part}
        for placed in others.placed:
            counts = placed.node in taking_part and placed.pod.namespace == pod.namespace
            if counts and placed.pod.metadata.deletion_timestamp is None and _selects(selector, placed.pod):
                self._pods[others.nodes[placed.node].metadata.labels[self.key]] += 1
        enough = len(self._pods) >= constraint.min_domains
        self._least = min(self._pods.values(), default=0) if enough else 0

    def on(self, node: SchedulableNode) -> int:
        return self._pods.get(node.metadata.labels.get(self.key, ""), 0)

    def skew_with_one_on(self, node: SchedulableNode) -> int:
        return self.on(node) + self._one - self._least


def _selects(selector: LabelSelector | None, pod: SchedulablePod) -> bool:
    return selector is not None and selector.matches(pod.metadata.labels)


def _takes_part(pod: SchedulablePod, constraint: SpreadConstraint, node: SchedulableNode) -> bool:
    if constraint.node_affinity_policy == "Honor" and not wants(pod, node):
        return False
    return constraint.node_taints_policy != "Honor" or repelling_taint(pod, node) is None
