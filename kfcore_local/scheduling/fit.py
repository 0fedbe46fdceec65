"""Where a pod fits: every node is asked, and the ones that refuse say why, in the words of kube-scheduler. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from kfcore_local.scheduling.affinity import UNSCHEDULABLE, repelling_taint, tolerates, wants
from kfcore_local.scheduling.kinds import SchedulableNode, SchedulablePod
from kfcore_local.scheduling.others import Others
from kfcore_local.scheduling.pod_rules import NO_PORTS, PodRules, rules_of
from kfcore_local.scheduling.preference import best
from kfcore_local.scheduling.resources import Amounts, lacking

NO_NODES = "no nodes available to schedule pods"


class Refusal(msgspec.Struct, frozen=True):
    """Why a node does not take a pod. `curable`: it would, were there fewer pods on it."""

    reasons: tuple[str, ...]
    curable: bool = False


def refusal(
    pod: SchedulablePod,
    requests: Mapping[str, Decimal],
    node: SchedulableNode,
    used: Mapping[str, Decimal],
    rules: PodRules,
) -> Refusal | None:
    """Why `node`, of which `used` is taken, does not take the pod; None when it does. In kube-scheduler's order: the
    first filter that refuses is the one that is told."""
    if node.spec.unschedulable and not tolerates(pod.spec.tolerations, UNSCHEDULABLE):
        return Refusal(("node(s) were unschedulable",))
    if taint := repelling_taint(pod, node):
        return Refusal((f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}",))
    if not wants(pod, node):
        return Refusal(("node(s) didn't match Pod's node affinity/selector",))
    if rules.port_is_taken(node):
        return Refusal((NO_PORTS,), curable=True)
    if missing := lacking(requests, node, used):
        reasons = ("Too many pods" if resource == "pods" else f"Insufficient {resource}" for resource in missing)
        return Refusal(tuple(reasons), curable=not lacking(requests, node, {}))
    if broken := rules.broken_on(node):
        reason, curable = broken
        return Refusal((reason,), curable=curable)
    return None


def best_fit(
    pod: SchedulablePod,
    requests: Amounts,
    nodes: Iterable[SchedulableNode],
    used: Mapping[str, Amounts],
    others: Others,
) -> tuple[SchedulableNode | None, list[Refusal]]:
    """Of the nodes that take the pod the one that it likes best, of equals the first; or the refusals of all."""
    refusals, fitting, rules = [], [], rules_of(pod, others)
    for node in nodes:
        found = refusal(pod, requests, node, used.get(node.name, {}), rules)
        if found is None:
            fitting.append(node)
        else:
            refusals.append(found)
    if not fitting:
        return None, refusals
    return (fitting[0] if len(fitting) == 1 else best(pod, fitting, others)), []


def unknown_node(count: int) -> str:
    """Of a pod that names a node that is none of the `count` that there are."""
    return why_not([Refusal(("node(s) didn't match the requested node name",))] * count)


def why_not(refusals: Sequence[Refusal]) -> str:
    """`0/1 nodes are available: 1 Insufficient cpu. preemption: …`."""
    if not refusals:
        return NO_NODES
    preemption = "No preemption victims found for incoming pod"
    hopeless = "Preemption is not helpful for scheduling"
    reasons = Counter(reason for found in refusals for reason in found.reasons)
    remedies = Counter(preemption if found.curable else hopeless for found in refusals)
    available = f"0/{len(refusals)} nodes are available: "
    return f"{available}{_counted(reasons)}. preemption: {available}{_counted(remedies)}."


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
