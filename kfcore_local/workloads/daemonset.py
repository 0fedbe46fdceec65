"""DaemonSet: one pod on every node that takes it; on this machine, one pod."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.client.errors import ApiError
from kfcore.client.selectors import LabelSelector
from kfcore.controller.controller import Result
from kfcore_local.scheduling.affinity import repelling_taint, wants
from kfcore_local.scheduling.kinds import PodSpec, SchedulableNode, SchedulablePod, Toleration
from kfcore_local.workloads.kinds import ControllerRevision, DaemonSet, Pod, created_at
from kfcore_local.workloads.pods import (
    RETRY_SECONDS,
    claim,
    is_active,
    is_available,
    is_ready,
    is_terminating,
    seconds_to_available,
)
from kfcore_local.workloads.reconciler import WorkloadReconciler
from kfcore_local.workloads.replicaset import create_pod, delete_pod
from kfcore_local.workloads.revisions import REVISION_LABEL, Revisions, find_revisions, forget_old, template_of
from kfcore_local.workloads.rolling import resolve
from kfcore_local.workloads.status import without_zeros
from kfcore_local.workloads.templates import pod_of

_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)


@dataclass
class Daemons:
    """One reconcile's view: the nodes that should have a pod, and the pods by their node."""

    owner: DaemonSet
    revisions: Revisions
    nodes: Sequence[str]
    pods: dict[str, list[Pod]]

    def current(self, node: str) -> Pod | None:
        """The pod that stands for the node: the oldest that is active."""
        active = [pod for pod in self.pods.get(node, ()) if is_active(pod)]
        return min(active, key=lambda pod: (created_at(pod.metadata), pod.name), default=None)


class DaemonSetReconciler(WorkloadReconciler[DaemonSet]):
    """Keeps one pod on each node."""

    kind = DaemonSet

    async def sync(self, owner: DaemonSet) -> Result:
        selector = LabelSelector.from_spec(owner.spec.selector)
        if not selector:
            return Result()
        pods = await claim(self.client, self.reader, Pod, owner, selector, is_active)
        revisions = await find_revisions(self.client, self.reader, owner, selector)
        nodes = [node.name for node in await self.reader.list(SchedulableNode) if _takes(node, owner)]
        daemons = Daemons(owner, revisions, nodes, {})
        for pod in pods:
            daemons.pods.setdefault(_node_of(pod), []).append(pod)
        failure: ApiError | None = None
        if owner.metadata.deletion_timestamp is None:
            try:
                await self._place(daemons)
                await self._update(daemons)
            except ApiError as error:
                failure = error
        await self.write_status(owner, self._status(daemons))
        if failure:
            return Result(RETRY_SECONDS)
        used = {pod.metadata.labels.get(REVISION_LABEL, "") for pod in pods}
        await forget_old(self.client, owner, revisions, used)
        return Result(seconds_to_available(pods, owner.spec.min_ready_seconds, self.clock.now()))

    async def _place(self, daemons: Daemons) -> None:
        owner = daemons.owner
        for node, pods in list(daemons.pods.items()):
            kept = daemons.current(node) if node in daemons.nodes else None
            for pod in pods:
                if pod is kept or is_terminating(pod):
                    continue
                if pod.status.phase == "Failed":
                    message = f"Found failed daemon pod {pod.key} on node {node}, will try to kill it"
                    self.recorder.warning(owner, "FailedDaemonPod", message)
                await delete_pod(self.client, self.recorder, owner, pod)
        for node in daemons.nodes:
            if not daemons.pods.get(node):
                manifest = _pod_for(owner, daemons.revisions.update, node)
                daemons.pods[node] = [await create_pod(self.client, self.recorder, owner, manifest)]

    async def _update(self, daemons: Daemons) -> None:
        """Replace pods of an older revision, as many at once as may be missing."""
        owner = daemons.owner
        if owner.spec.update_strategy.type != "RollingUpdate":
            return
        rolling = owner.spec.update_strategy.rolling_update
        allowed = max(1, resolve(rolling.max_unavailable if rolling else 1, len(daemons.nodes), up=True))
        standing = [pod for node in daemons.nodes if (pod := daemons.current(node)) is not None]
        missing = len(daemons.nodes) - sum(self._is_available(owner, pod) for pod in standing)
        for pod in standing:
            if pod.metadata.labels.get(REVISION_LABEL) == daemons.revisions.update.name:
                continue
            if self._is_available(owner, pod):
                if missing >= allowed:
                    continue
                missing += 1
            await delete_pod(self.client, self.recorder, owner, pod)

    def _is_available(self, owner: DaemonSet, pod: Pod) -> bool:
        return is_available(pod, owner.spec.min_ready_seconds, self.clock.now())

    def _status(self, daemons: Daemons) -> Manifest:
        owner = daemons.owner
        standing = [pod for node in daemons.nodes if (pod := daemons.current(node)) is not None]
        misplaced = sum(
            any(is_active(pod) for pod in pods) for node, pods in daemons.pods.items() if node not in daemons.nodes
        )
        available = sum(self._is_available(owner, pod) for pod in standing)
        updated = sum(pod.metadata.labels.get(REVISION_LABEL) == daemons.revisions.update.name for pod in standing)
        optional = {
            "observedGeneration": owner.metadata.generation,
            "updatedNumberScheduled": updated,
            "numberAvailable": available,
            "numberUnavailable": len(daemons.nodes) - available,
            "collisionCount": daemons.revisions.collisions,
        }
        return {
            "currentNumberScheduled": len(standing),
            "numberMisscheduled": misplaced,
            "desiredNumberScheduled": len(daemons.nodes),
            "numberReady": sum(map(is_ready, standing)),
            **without_zeros(optional),
        }


def _takes(node: SchedulableNode, owner: DaemonSet) -> bool:
    """Whether the node should have a pod of the set."""
    spec = owner.spec.template.get("spec") or {}
    own = [Toleration(**_fields(item)) for item in spec.get("tolerations") or ()]
    tolerations = [*own, *(Toleration(key=key, operator="Exists", effect=effect) for key, effect in _TOLERATED)]
    pod = SchedulablePod(
        spec=PodSpec(
            node_selector=spec.get("nodeSelector") or {}, affinity=spec.get("affinity") or {}, tolerations=tolerations
        )
    )
    return wants(pod, node) and repelling_taint(pod, node) is None


def _fields(toleration: Manifest) -> dict[str, Any]:
    return {name: toleration[name] for name in ("key", "operator", "value", "effect") if toleration.get(name)}


def _pod_for(owner: DaemonSet, revision: ControllerRevision, node: str) -> Manifest:
    """A pod that only this node takes, through whatever may be the matter with it."""
    pod = pod_of(template_of(revision), owner, prefix=f"{owner.name}-")
    spec = pod["spec"]
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    affinity = dict(spec.get("affinity") or {})
    spec["affinity"] = {**affinity, "nodeAffinity": {**(affinity.get("nodeAffinity") or {}), **required}}
    tolerated = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in _TOLERATED]
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *tolerated]
    return pod


def _node_of(pod: Pod) -> str:
    """Where a pod is, or where alone it may go."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity.get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            return str((field.get("values") or [""])[0])
    return ""
