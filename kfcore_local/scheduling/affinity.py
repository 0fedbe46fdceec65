"""Whether a pod wants a node, and the node the pod: selectors, required affinity, taints. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kfcore.api.meta import Manifest
from kfcore_local.scheduling.kinds import SchedulableNode, SchedulablePod, Taint, Toleration

NOT_READY = Taint(key="node.kubernetes.io/not-ready", effect="NoSchedule")
UNSCHEDULABLE = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


def wants(pod: SchedulablePod, node: SchedulableNode) -> bool:
    """Whether the node has what the pod's nodeSelector and required node affinity ask for."""
    if not pod.spec.node_selector.items() <= node.metadata.labels.items():
        return False
    required = (pod.spec.affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    # Terms are alternatives, the expressions of one hold together; a term that says nothing selects nothing.
    return any(matches_term(term, node) for term in required.get("nodeSelectorTerms") or ())


def repelling_taint(pod: SchedulablePod, node: SchedulableNode) -> Taint | None:
    """The first taint of the node that keeps the pod away."""
    taints = [taint for taint in node.spec.taints if taint.effect in ("NoSchedule", "NoExecute")]
    if not node.is_ready:
        taints.append(NOT_READY)
    return next((taint for taint in taints if not tolerates(pod.spec.tolerations, taint)), None)


def tolerates(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    return any(_tolerates(toleration, taint) for toleration in tolerations)


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.value == taint.value


def matches_term(term: Manifest, node: SchedulableNode) -> bool:
    """Whether a node has what a nodeSelectorTerm asks for."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_holds(expression, node.metadata.labels) for expression in expressions) and all(
        _holds(field, {"metadata.name": node.name}) for field in fields
    )


def _holds(requirement: Manifest, labels: Mapping[str, str]) -> bool:
    key, values = requirement.get("key", ""), requirement.get("values") or []
    value = labels.get(key)
    match requirement.get("operator"):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            try:
                found, bound = int(value or ""), int(values[0])
            except (ValueError, IndexError):
                return False
            return found > bound if operator == "Gt" else found < bound
    return False
