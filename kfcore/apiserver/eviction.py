"""`POST …/pods/NAME/eviction`: a delete that the pod's disruption budget has to allow.

A budget's status counts where a controller keeps it; where none does, the pods are counted here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.objects import Objects
from kfcore.client.errors import Cause, Forbidden, StatusDetails, TooManyRequests
from kfcore.client.selectors import LabelSelector, SelectorError

_WHY = "Cannot evict pod as it would violate the pod's disruption budget."


class _Count(msgspec.Struct, frozen=True):
    healthy: int
    desired: int
    allowed: int
    observed: bool
    """Whether a controller has counted."""


def demand_budget(objects: Objects, pod: Manifest, *, dry_run: bool) -> None:
    """Take the pod out of its budget. Raises TooManyRequests for one that this keeps, Forbidden for one with several
    budgets.
    """
    if _is_done(pod):
        return
    budgets = list(_budgets_of(objects, pod))
    if len(budgets) > 1:
        raise Forbidden(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            details=StatusDetails(name=pod["metadata"]["name"], kind="pods"),
        )
    if not budgets:
        return
    (budget,) = budgets
    count = _counted(objects, budget)
    if not _is_healthy(pod):
        always = (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        if always or (count.healthy >= count.desired > 0):
            return
    if not count.allowed:
        name = budget["metadata"]["name"]
        why = f"The disruption budget {name} needs {count.desired} healthy pods and has {count.healthy} currently"
        raise TooManyRequests(_WHY, details=StatusDetails(causes=[Cause("DisruptionBudget", why)]))
    if count.observed and not dry_run:
        kind = objects.kinds.at("policy", "v1", "poddisruptionbudgets")
        assert kind is not None
        metadata, gone = budget["metadata"], {pod["metadata"]["name"]: objects.now()}
        objects.update(
            kind, metadata["namespace"], metadata["name"], lambda found: _without(found, gone), subresource="status"
        )


def _without(budget: Manifest, gone: Manifest) -> Manifest:
    """The budget as it is until its controller has counted again."""
    status = budget["status"]
    let_go = {**(status.get("disruptedPods") or {}), **gone}
    left = status["disruptionsAllowed"] - 1
    return {**budget, "status": {**status, "disruptionsAllowed": left, "disruptedPods": let_go}}


def _is_done(pod: Manifest) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or "deletionTimestamp" in pod["metadata"]


def _is_healthy(pod: Manifest) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def _budgets_of(objects: Objects, pod: Manifest) -> Iterator[Manifest]:
    kind = objects.kinds.at("policy", "v1", "poddisruptionbudgets")
    assert kind is not None
    labels = pod["metadata"].get("labels") or {}
    for stored in objects.collection(kind).select(pod["metadata"]["namespace"]):
        if (selector := _selector(stored.manifest)) is not None and selector.matches(labels):
            yield stored.manifest


def _selector(budget: Manifest) -> LabelSelector | None:
    """What a budget is about; None for nothing."""
    try:
        selector = (budget.get("spec") or {}).get("selector")
        return None if selector is None else LabelSelector.from_spec(selector)
    except (SelectorError, AttributeError, KeyError, TypeError):
        return None


def _counted(objects: Objects, budget: Manifest) -> _Count:
    status: Any = budget.get("status") or {}
    if status.get("observedGeneration", 0) >= budget["metadata"].get("generation", 1):
        healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
        return _Count(healthy, desired, status.get("disruptionsAllowed", 0), observed=True)
    kind = objects.kinds.at("", "v1", "pods")
    assert kind is not None
    selector = _selector(budget)
    pods = [
        stored.manifest
        for stored in objects.collection(kind).select(budget["metadata"]["namespace"])
        if selector is not None and selector.matches(stored.labels)
    ]
    healthy = sum(_is_healthy(pod) and "deletionTimestamp" not in pod["metadata"] for pod in pods)
    spec, expected = budget.get("spec") or {}, _expected(objects, pods)
    if spec.get("maxUnavailable") is not None:
        desired = expected - _share(spec["maxUnavailable"], expected)
    else:
        desired = _share(spec.get("minAvailable") or 0, expected)
    return _Count(healthy, max(desired, 0), max(healthy - max(desired, 0), 0), observed=False)


def _expected(objects: Objects, pods: list[Manifest]) -> int:
    """How many pods their controllers want; one that nobody controls counts for itself."""
    wanted: dict[str, int] = {}
    alone = 0
    for pod in pods:
        references = pod["metadata"].get("ownerReferences") or ()
        uid = next((reference["uid"] for reference in references if reference.get("controller")), "")
        found = objects.storage.find(uid) if uid else None
        replicas = None if found is None else (found[1].manifest.get("spec") or {}).get("replicas")
        if isinstance(replicas, int):
            wanted[uid] = replicas
        else:
            alone += 1
    return alone + sum(wanted.values())


def _share(value: Any, of: int) -> int:
    """A number, or a percentage of `of`, rounded up."""
    if isinstance(value, str) and value.endswith("%") and value[:-1].isdecimal():
        return math.ceil(of * int(value[:-1]) / 100)
    return value if isinstance(value, int) else 0
