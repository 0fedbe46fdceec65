"""PodDisruptionBudgets → their status: how many of the pods that they are about are healthy, and how many may go. The
API server goes by it when a pod is to be evicted, and notes there whom it let go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from kfcore.api.meta import Manifest, ServerObject, controller_of
from kfcore.cache.cache import Cache
from kfcore.client.errors import Conflict, NotFound
from kfcore.client.interface import Client, Reader
from kfcore.client.selectors import LabelSelector
from kfcore.clock import Clock
from kfcore.controller.controller import Request, Result
from kfcore_local.workloads.kinds import Deployment, Pod, PodDisruptionBudget, ReplicaSet, StatefulSet
from kfcore_local.workloads.pods import is_ready, is_terminating
from kfcore_local.workloads.rolling import resolve
from kfcore_local.workloads.status import difference, parse_time, timestamp, with_condition

_GIVEN_TO_GO = timedelta(minutes=2)
"""A pod that was let go and is still there by then counts again."""


class _NoController(Exception):
    """How many pods there should be cannot be told."""


class DisruptionReconciler:
    def __init__(self, client: Client, reader: Reader, clock: Clock) -> None:
        self.client = client
        self.reader = reader
        self.clock = clock

    async def reconcile(self, request: Request) -> Result:
        try:
            budget = await self.reader.get(PodDisruptionBudget, request.name, request.namespace)
        except NotFound:
            return Result()
        now = self.clock.now()
        pods = await self._pods(budget)
        let_go = _still_going(budget.status.get("disruptedPods") or {}, pods, now)
        status = await self._status(budget, pods, let_go)
        if patch := difference(budget.status, status):
            if "disruptedPods" in patch:
                patch["disruptedPods"] = dict.fromkeys(budget.status.get("disruptedPods") or (), None) | let_go
            # What was let go meanwhile is in a newer version, whose coming brings the budget here again.
            body = {"metadata": {"resourceVersion": budget.metadata.resource_version}, "status": patch}
            with suppress(Conflict, NotFound):
                await self.client.patch(PodDisruptionBudget, budget.name, budget.namespace, body, subresource="status")
        if not let_go:
            return Result()
        first = min(map(parse_time, let_go.values())) + _GIVEN_TO_GO
        return Result(requeue_after=max((first - now).total_seconds(), 1))

    async def _pods(self, budget: PodDisruptionBudget) -> list[Pod]:
        if budget.spec.selector is None:
            return []
        selector = LabelSelector.from_spec(budget.spec.selector)
        found = await self.reader.list(Pod, budget.namespace)
        return [pod for pod in found if selector.matches(pod.metadata.labels)]

    async def _status(self, budget: PodDisruptionBudget, pods: Sequence[Pod], let_go: dict[str, str]) -> Manifest:
        healthy = sum(is_ready(pod) and not is_terminating(pod) and pod.name not in let_go for pod in pods)
        reason, message = "", ""
        try:
            expected, desired = await self._wanted(budget, pods)
            allowed = max(healthy - desired, 0) if expected else 0
        except _NoController as error:
            reason, message = "SyncFailed", str(error)
            kept = budget.status
            expected, desired, allowed = kept.get("expectedPods", 0), kept.get("desiredHealthy", 0), 0
        generation = budget.metadata.generation
        condition = {
            "type": "DisruptionAllowed",
            "status": str(allowed > 0),
            "reason": reason or ("SufficientPods" if allowed else "InsufficientPods"),
            "message": message,
            "observedGeneration": generation,
            "lastTransitionTime": timestamp(self.clock.now()),
        }
        status: Manifest = {
            "conditions": with_condition(budget.status.get("conditions") or [], condition),
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "disruptionsAllowed": allowed,
            "expectedPods": expected,
            "observedGeneration": generation,
        }
        return {**status, **({"disruptedPods": let_go} if let_go else {})}

    async def _wanted(self, budget: PodDisruptionBudget, pods: Sequence[Pod]) -> tuple[int, int]:
        """How many pods there should be, and how many of them healthy. Raises _NoController."""
        spec = budget.spec
        if spec.max_unavailable is not None:
            expected = await self._scale(pods)
            return expected, max(expected - resolve(spec.max_unavailable, expected, up=True), 0)
        if isinstance(spec.min_available, str):
            expected = await self._scale(pods)
            return expected, resolve(spec.min_available, expected, up=True)
        return len(pods), spec.min_available or 0

    async def _scale(self, pods: Sequence[Pod]) -> int:
        """What those who control the pods want, all together; pods of nobody do not count."""
        replicas: dict[str, int] = {}
        for pod in pods:
            owner = controller_of(pod)
            if owner is not None and owner.uid not in replicas:
                replicas[owner.uid] = await self._replicas(pod, owner.kind, owner.name)
        return sum(replicas.values())

    async def _replicas(self, pod: Pod, kind: str, name: str) -> int:
        with suppress(NotFound):
            if kind == "StatefulSet":
                return (await self.reader.get(StatefulSet, name, pod.namespace)).spec.replicas
            if kind == "ReplicaSet":
                return await self._of_replica_set(name, pod.namespace)
        raise _NoController(f'found no controllers for pod "{pod.name}"')

    async def _of_replica_set(self, name: str, namespace: str) -> int:
        """One of a Deployment counts as that: in the middle of a rollout it has two."""
        found = await self.reader.get(ReplicaSet, name, namespace)
        owner = controller_of(found)
        if owner is None or owner.kind != "Deployment":
            return found.spec.replicas
        deployment = await self.reader.get(Deployment, owner.name, namespace)
        return deployment.spec.replicas


def _still_going(let_go: dict[str, str], pods: Sequence[Pod], now: datetime) -> dict[str, str]:
    """Those of the pods that were let go that are there as if nothing had happened: their deletion is on its way."""
    there = {pod.name for pod in pods if not is_terminating(pod)}
    return {name: when for name, when in let_go.items() if name in there and now - parse_time(when) < _GIVEN_TO_GO}


def enqueue_budgets(cache: Cache) -> Callable[[Pod], Iterable[Request]]:
    """A pod → the budgets that are about it."""
    store = cache.informer(PodDisruptionBudget).store

    def budgets(pod: Pod) -> Iterable[Request]:
        for budget in store.list(pod.namespace) if len(store) else ():
            selector = budget.spec.selector
            if selector is not None and LabelSelector.from_spec(selector).matches(pod.metadata.labels):
                yield Request.of(budget)

    return budgets


def enqueue_budgets_of_owner(cache: Cache) -> Callable[[ServerObject], Iterable[Request]]:
    """Who wants another number of pods → the budgets of its namespace."""
    store = cache.informer(PodDisruptionBudget).store

    def budgets(owner: ServerObject) -> Iterable[Request]:
        return [Request.of(budget) for budget in store.list(owner.namespace)] if len(store) else []

    return budgets
