"""Whose place a more important pod takes: the least important of those whose going makes room, and as few. Pure."""

from __future__ import annotations

from kfcore_local.scheduling.fit import refusal
from kfcore_local.scheduling.kinds import SchedulableNode, SchedulablePod
from kfcore_local.scheduling.others import Others
from kfcore_local.scheduling.pod_rules import rules_of
from kfcore_local.scheduling.resources import Ledger, Placed, add_to, requests_of


def victims(pod: SchedulablePod, node: SchedulableNode, ledger: Ledger, others: Others) -> list[Placed]:
    """The pods that have to go from `node` for the pod to fit; none when that cannot be had."""
    if pod.spec.preemption_policy == "Never":
        return []
    lesser = [placed for placed in ledger.on(node.name) if placed.pod.spec.priority < pod.spec.priority]
    used, requests = ledger.used(node.name, without=lesser), requests_of(pod)
    gone = {placed.pod.metadata.uid for placed in lesser}
    if not lesser or refusal(pod, requests, node, used, rules_of(pod, others.without(gone))) is not None:
        return []
    chosen = []
    for placed in sorted(lesser, key=_worth, reverse=True):
        add_to(used, placed.requests)
        gone.discard(placed.pod.metadata.uid)
        if refusal(pod, requests, node, used, rules_of(pod, others.without(gone))) is not None:
            add_to(used, placed.requests, -1)
            gone.add(placed.pod.metadata.uid)
            chosen.append(placed)
    return chosen


def _worth(placed: Placed) -> tuple[int, float]:
    """More important pods stay, and of equals the older."""
    created = placed.pod.metadata.creation_timestamp
    return placed.pod.spec.priority, -(created.timestamp() if created else 0.0)
