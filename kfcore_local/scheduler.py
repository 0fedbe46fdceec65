"""The scheduler of one machine: pods without a node come in from a watch, a binding goes out for each that a node
takes, and for the others the reason why none does. How it decides is `kfcore_local.scheduling`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from kfcore.api.core import Namespace
from kfcore.api.meta import Manifest, Unstructured
from kfcore.cache.informer import Change, Informer
from kfcore.client.errors import ApiError, Conflict, ConnectionFailed, NotFound
from kfcore.client.interface import Client, Preconditions
from kfcore.clock import Clock, SystemClock
from kfcore.controller.events import EventRecorder
from kfcore.jobs.gang import GangScheduler
from kfcore_local.pod_status import timestamp
from kfcore_local.scheduling.claims import claims_of
from kfcore_local.scheduling.fit import best_fit, unknown_node, why_not
from kfcore_local.scheduling.groups import GroupKind, minimum
from kfcore_local.scheduling.kinds import SchedulableNode, SchedulablePod
from kfcore_local.scheduling.others import Others
from kfcore_local.scheduling.pod_rules import minds_others
from kfcore_local.scheduling.preemption import victims
from kfcore_local.scheduling.queue import PodQueue, rank
from kfcore_local.scheduling.resources import Amounts, Ledger, Placed, add_to, requests_of
from kfcore_local.scheduling.taint_eviction import TaintEviction, set_condition
from kfcore_local.storage.kinds import SELECTED_NODE, Claim, StorageClass

log = structlog.get_logger(__name__)

SCHEDULER_NAME = "default-scheduler"
RETRY_SECONDS = 1.0
Placing = tuple[SchedulablePod, SchedulableNode]


class Scheduler:
    """Gives every pending pod of `default-scheduler` a node that has room for it; pods of other schedulers are left to
    them, but for those of `gang`, whose part it plays: their groups get places for all that they need, or none."""

    def __init__(self, client: Client, *, gang: GangScheduler | None = None, clock: Clock | None = None) -> None:
        self._client = client
        self._clock = clock or SystemClock()
        self._recorder = EventRecorder(client, SCHEDULER_NAME, self._clock)
        self._groups = GroupKind(gang) if gang else None
        self._names = {SCHEDULER_NAME, *((gang.scheduler_name,) if gang else ())}
        self._queue = PodQueue()
        self._ledger = Ledger()
        self._nominated: dict[str, tuple[SchedulablePod, str]] = {}
        """Pods for which others were told to go, and the node that they will have: nobody lesser takes that room."""
        self._pods = Informer(client, SchedulablePod, clock=self._clock)
        self._nodes = Informer(client, SchedulableNode, clock=self._clock)
        self._claims = Informer(client, Claim, clock=self._clock)
        self._classes = Informer(client, StorageClass, clock=self._clock)
        self._namespaces = Informer(client, Namespace, clock=self._clock)
        self._eviction = TaintEviction(client, self._clock)
        self._group_objects = Informer(client, gang.kind, clock=self._clock) if gang else None

    async def run(self) -> None:
        """Until cancelled."""
        others: list[Informer[Any]] = [self._nodes, self._claims, self._classes, self._namespaces]
        if self._group_objects is not None:
            others.append(self._group_objects)
        self._pods.subscribe(self._pod_changed)
        self._nodes.subscribe(self._node_changed)
        for informer in others[1:]:
            informer.subscribe(lambda _: self._queue.try_all_again())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recorder.run())
            group.create_task(self._eviction.run())
            for informer in others:
                group.create_task(informer.run())
            for informer in others:
                await informer.wait_for_sync()
            group.create_task(self._pods.run())  # after the nodes, so that what is bound is counted before others are
            await self._pods.wait_for_sync()
            while True:
                await self._schedule(await self._queue.next())

    # ── what changes ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _pod_changed(self, change: Change[SchedulablePod]) -> None:
        pod = change.object
        self._eviction.pod_changed(pod, exists=change.new is not None)
        if change.new is not None and pod.spec.node_name and self._nodes.store.get("", pod.spec.node_name) is None:
            self._queue.add(pod)
            return
        if change.new is not None and not pod.is_finished and pod.spec.node_name:
            self._queue.discard(pod)
            self._nominated.pop(pod.metadata.uid, None)
            is_new = pod not in self._ledger
            if self._ledger.place(pod, pod.spec.node_name):
                self._queue.try_all_again()
            elif is_new:
                self._queue.try_again_if(minds_others)
            return
        if change.new is not None and not pod.is_finished and self._is_ours(pod):
            self._queue.add(pod)
            return
        self._queue.discard(pod)
        was_nominated = self._nominated.pop(pod.metadata.uid, None) is not None
        if self._ledger.remove(pod) or was_nominated:
            self._queue.try_all_again()  # there is room

    def _node_changed(self, change: Change[SchedulableNode]) -> None:
        old, new = change.old, change.new
        self._eviction.node_changed(change.object.name, new)
        if (
            old is None
            or new is None
            or (old.spec, old.status, old.metadata.labels) != (new.spec, new.status, new.metadata.labels)
        ):
            self._queue.try_all_again()

    def _is_ours(self, pod: SchedulablePod) -> bool:
        return (
            pod.metadata.deletion_timestamp is None
            and pod.spec.scheduler_name in self._names
            and not pod.spec.scheduling_gates
        )

    # ── one pod, or one group ────────────────────────────────────────────────────────────────────────────────────────

    async def _schedule(self, pod: SchedulablePod) -> None:
        try:
            if pod.spec.node_name:
                await self._look_for_node(pod)
            elif self._groups is not None and (name := self._groups.name_of(pod)):
                await self._schedule_group(self._groups, pod.namespace, name)
            else:
                await self._schedule_one(pod)
        except (ApiError, ConnectionFailed) as error:
            log.warning("pod.not_scheduled", pod=pod.key, error=str(error))
            self._clock.call_later(RETRY_SECONDS, lambda: self._queue.try_again(pod.key))

    async def _look_for_node(self, pod: SchedulablePod) -> None:
        """Of a pod whose author has chosen a node: one that is not there has no kubelet to run the pod or to end it."""
        if self._nodes.store.get("", pod.spec.node_name) is not None:
            self._queue.discard(pod)
            if not pod.is_finished:
                self._ledger.place(pod, pod.spec.node_name)
        elif pod.metadata.deletion_timestamp is not None:
            uid = Preconditions(uid=pod.metadata.uid)
            try:
                await self._client.delete(
                    SchedulablePod, pod.name, pod.namespace, grace_period_seconds=0, preconditions=uid
                )
            except (NotFound, Conflict):
                return
        elif not pod.is_finished:
            await self._tell_unschedulable(pod, unknown_node(len(self._nodes.store.list())))

    async def _schedule_one(self, pod: SchedulablePod) -> None:
        [placing], why = self._place([pod])
        if placing is not None:
            await self._bind(*placing)
        elif why and not await self._preempt(pod):
            await self._tell_unschedulable(pod, why[pod.key])

    async def _schedule_group(self, groups: GroupKind, namespace: str, name: str) -> None:
        """Places for as many of a group's pods as it needs at once, or for none."""
        kind = groups.scheduler.kind
        members = [
            pod for pod in self._queue.waiting.values() if pod.namespace == namespace and groups.name_of(pod) == name
        ]
        for pod in members:
            self._queue.take(pod)
        try:
            group = await self._client.get(kind, name, namespace)
        except NotFound:
            for pod in members:
                await self._tell_unschedulable(pod, f'podgroups "{name}" not found')
            return
        placed = self._placed_members(groups, namespace, name)
        present, needed = placed + len(members), minimum(group)
        if present < needed:
            for pod in members:
                why = f"the PodGroup {namespace}/{name} needs {needed} pods at once, and {present} are there"
                await self._tell_unschedulable(pod, f"pod {pod.name} cannot find enough sibling pods: {why}")
            return
        placings, why_not_each = self._place(sorted(members, key=rank))
        found = [placing for placing in placings if placing is not None]
        if placed + len(found) >= needed:
            for placing in found:
                await self._bind(*placing)
            placed += len(found)
        elif why_not_each:
            first = next(iter(why_not_each.values()))
            found_in_all = f"{placed + len(found)} find room" if placed + len(found) else "none finds room"
            for pod in members:
                why = f"{first} The PodGroup {namespace}/{name} needs {needed} pods at once, and {found_in_all}."
                await self._tell_unschedulable(pod, why)
        await self._tell_group(groups, group, placed, present)

    def _placed_members(self, groups: GroupKind, namespace: str, name: str) -> int:
        """The pods of a group that have a node, those that are done with it included."""
        return sum(
            groups.name_of(pod) == name and (pod in self._ledger or pod.status.phase == "Succeeded")
            for pod in self._pods.store.list(namespace)
        )

    def _place(self, pods: Sequence[SchedulablePod]) -> tuple[list[Placing | None], dict[str, str]]:
        """A place for each pod beside the others, or the reason why there is none; nothing is promised yet.

        A pod may have neither: its claims are bound first, and their change brings it back.
        """
        nodes = sorted(self._nodes.store.list(), key=lambda node: node.name)
        placings: list[Placing | None] = []
        why: dict[str, str] = {}
        promised: list[Placed] = []
        for pod in pods:
            requests = requests_of(pod)
            used = {node.name: self._used(node.name, pod) for node in nodes}
            for placed in promised:
                add_to(used[placed.node], placed.requests)
            claims = claims_of(pod, self._claims.store, self._classes.store)
            if claims.problem:
                placings.append(None)
                why[pod.key] = f"0/{len(nodes)} nodes are available: {claims.problem}."
                continue
            node, refusals = best_fit(pod, requests, nodes, used, self._others(promised))
            placings.append((pod, node) if node else None)
            if node is None:
                why[pod.key] = why_not(refusals)
            else:
                promised.append(Placed.of(pod, node.name))
        return placings, why

    def _others(self, promised: Sequence[Placed] = ()) -> Others:
        """The pods that have a place, those included that are about to be told so."""
        repelling = self._ledger.anybody_repels or any(placed.repels for placed in promised)
        nodes = {node.name: node for node in self._nodes.store.list()}
        return Others(nodes, [*self._ledger.all(), *promised], self._labels_of_namespace, repelling)

    def _labels_of_namespace(self, name: str) -> Mapping[str, str]:
        found = self._namespaces.store.get("", name)
        return found.metadata.labels if found is not None else {}

    def _used(self, node: str, pod: SchedulablePod) -> Amounts:
        used = self._ledger.used(node)
        for other, nominated in self._nominated.values():
            more = other.spec.priority >= pod.spec.priority and other.metadata.uid != pod.metadata.uid
            if nominated == node and more:
                add_to(used, requests_of(other))
        return used

    # ── what is done ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _bind(self, pod: SchedulablePod, node: SchedulableNode) -> None:
        claims = claims_of(pod, self._claims.store, self._classes.store)
        if claims.waiting:
            for claim in claims.waiting:
                if claim.metadata.annotations.get(SELECTED_NODE) != node.name:
                    body: Manifest = {"metadata": {"annotations": {SELECTED_NODE: node.name}}}
                    await self._client.patch(Claim, claim.name, claim.namespace, body)
            return  # their binding brings the pod back
        self._ledger.place(pod, node.name)
        self._queue.discard(pod)
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.metadata.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node.name},
        }
        try:
            await self._client.subresource("POST", SchedulablePod, pod.name, pod.namespace, "binding", body=body)
        except (NotFound, Conflict):
            self._ledger.remove(pod)  # gone, or bound by somebody else, which the watch tells
            if (present := self._pods.store.get(pod.namespace, pod.name)) is not None and present.spec.node_name:
                self._ledger.place(present, present.spec.node_name)
        except (ApiError, ConnectionFailed) as error:
            self._ledger.remove(pod)
            self._queue.waiting[pod.key] = pod
            self._recorder.warning(pod, "FailedScheduling", str(error))
            raise
        else:
            self._recorder.normal(pod, "Scheduled", f"Successfully assigned {pod.key} to {node.name}")
            self._queue.try_again_if(minds_others)

    async def _preempt(self, pod: SchedulablePod) -> bool:
        """Have less important pods go, where that makes room: whether the pod has been promised a node."""
        if pod.metadata.uid in self._nominated:
            promised = self._nominated[pod.metadata.uid][1]
            if any(_gives_way(placed, pod) for placed in self._ledger.on(promised)):
                return True
            del self._nominated[pod.metadata.uid]
        for node in sorted(self._nodes.store.list(), key=lambda node: node.name):
            chosen = victims(pod, node, self._ledger, self._others())
            if not chosen:
                continue
            self._nominated[pod.metadata.uid] = pod, node.name
            body = {"status": {"nominatedNodeName": node.name}}
            await self._client.patch(SchedulablePod, pod.name, pod.namespace, body, subresource="status")
            for placed in chosen:
                await self._evict(placed.pod, pod, node)
            return True
        return False

    async def _evict(self, victim: SchedulablePod, pod: SchedulablePod, node: SchedulableNode) -> None:
        message = f"{SCHEDULER_NAME}: preempting to accommodate a higher priority pod"
        condition = self._condition("DisruptionTarget", "True", "PreemptionByScheduler", message)
        try:
            await set_condition(self._client, victim, condition)
            uid = Preconditions(uid=victim.metadata.uid)
            await self._client.delete(SchedulablePod, victim.name, victim.namespace, preconditions=uid)
        except (NotFound, Conflict):
            return
        self._recorder.normal(victim, "Preempted", f"Preempted by pod {pod.metadata.uid} on node {node.name}")

    async def _tell_unschedulable(self, pod: SchedulablePod, why: str) -> None:
        present = next((item for item in pod.status.conditions if item.get("type") == "PodScheduled"), {})
        if present.get("message") == why:
            return
        try:
            condition = self._condition("PodScheduled", "False", "Unschedulable", why)
            await set_condition(self._client, pod, condition)
        except NotFound:
            return
        self._recorder.warning(pod, "FailedScheduling", why)

    def _condition(self, type_: str, status: str, reason: str, message: str) -> Manifest:
        now = timestamp(self._clock.now())
        return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": now}

    async def _tell_group(self, groups: GroupKind, group: Unstructured, placed: int, present: int) -> None:
        status = groups.status(group, placed, present, timestamp(self._clock.now()))
        current = group.raw.get("status") or {}
        if all(current.get(name) == value for name, value in status.items()):
            return
        try:
            kind = groups.scheduler.kind
            await self._client.patch(kind, group.name, group.namespace, {"status": status}, subresource="status")
        except NotFound:
            return


def _gives_way(placed: Placed, pod: SchedulablePod) -> bool:
    return placed.pod.metadata.deletion_timestamp is not None and placed.pod.spec.priority < pod.spec.priority
