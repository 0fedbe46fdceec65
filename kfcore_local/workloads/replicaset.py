"""ReplicaSet: as many pods of one template as `spec.replicas` says. Deployments are made of these."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from kfcore.api.meta import Manifest, Object
from kfcore.client.errors import ApiError, NotFound
from kfcore.client.interface import Client, Preconditions
from kfcore.client.selectors import LabelSelector
from kfcore.controller.controller import Result
from kfcore.controller.events import EventRecorder
from kfcore_local.workloads.kinds import Pod, ReplicaSet, created_at
from kfcore_local.workloads.pods import (
    RETRY_SECONDS,
    claim,
    in_slow_start,
    is_active,
    is_available,
    is_ending,
    is_ready,
    ready_since,
    seconds_to_available,
)
from kfcore_local.workloads.reconciler import WorkloadReconciler
from kfcore_local.workloads.status import (
    timestamp,
    with_condition,
    without_condition,
    without_zeros,
)
from kfcore_local.workloads.templates import pod_of

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


class ReplicaSetReconciler(WorkloadReconciler[ReplicaSet]):
    """Creates and deletes pods of a ReplicaSet, and counts them into its status."""

    kind = ReplicaSet

    async def sync(self, owner: ReplicaSet) -> Result:
        selector = LabelSelector.from_spec(owner.spec.selector)
        pods = await claim(self.client, self.reader, Pod, owner, selector, is_active)
        active = [pod for pod in pods if is_active(pod)]
        ending = sum(map(is_ending, pods))
        failure: ApiError | None = None
        if owner.metadata.deletion_timestamp is None:
            active, failure = await self._scale(owner, active)
        await self.write_status(owner, self._status(owner, active, ending, failure))
        if failure:
            return Result(RETRY_SECONDS)
        return Result(seconds_to_available(active, owner.spec.min_ready_seconds, self.clock.now()))

    async def _scale(self, owner: ReplicaSet, active: list[Pod]) -> tuple[list[Pod], ApiError | None]:
        missing = owner.spec.replicas - len(active)
        if missing > 0:
            manifest = pod_of(owner.spec.template, owner, prefix=f"{owner.name}-")

            async def create(_: int) -> Pod:
                return await create_pod(self.client, self.recorder, owner, manifest)

            created, failure = await in_slow_start(missing, create)
            return active + created, failure
        doomed = sorted(active, key=_deletion_rank)[:-missing] if missing else []
        for pod in doomed:
            await delete_pod(self.client, self.recorder, owner, pod)
        return [pod for pod in active if pod not in doomed], None

    def _status(self, owner: ReplicaSet, pods: Sequence[Pod], ending: int, failure: ApiError | None) -> Manifest:
        now = self.clock.now()
        labels = ((owner.spec.template.get("metadata") or {}).get("labels") or {}).items()
        conditions = owner.status.get("conditions") or []
        if failure:
            reason = "FailedCreate"
            failed = {"type": "ReplicaFailure", "status": "True", "reason": reason, "message": str(failure)}
            conditions = with_condition(conditions, {**failed, "lastTransitionTime": timestamp(now)})
        else:
            conditions = without_condition(conditions, "ReplicaFailure")
        optional = {
            "fullyLabeledReplicas": sum(labels <= pod.metadata.labels.items() for pod in pods),
            "readyReplicas": sum(map(is_ready, pods)),
            "availableReplicas": sum(is_available(pod, owner.spec.min_ready_seconds, now) for pod in pods),
            "observedGeneration": owner.metadata.generation,
            "conditions": conditions,
        }
        return {"replicas": len(pods), **without_zeros(optional), "terminatingReplicas": ending}


async def create_pod(client: Client, recorder: EventRecorder, owner: Object, manifest: Manifest) -> Pod:
    """Create a pod, and tell so (or why not) in an event of its owner."""
    try:
        pod = await client.create(Pod, manifest, owner.namespace)
    except ApiError as error:
        recorder.warning(owner, "FailedCreate", f"Error creating: {error}")
        raise
    recorder.normal(owner, "SuccessfulCreate", f"Created pod: {pod.name}")
    return pod


async def delete_pod(client: Client, recorder: EventRecorder, owner: Object, pod: Pod) -> None:
    """Delete this very pod (not a later one of its name); one that is gone already is what was wanted."""
    with suppress(NotFound):
        await client.delete(Pod, pod.name, pod.namespace, preconditions=Preconditions(uid=pod.metadata.uid))
        recorder.normal(owner, "SuccessfulDelete", f"Deleted pod: {pod.name}")


def _deletion_rank(pod: Pod) -> tuple[bool, int, bool, int, float, int, float]:
    """Sorts the pods that are missed least first: unscheduled, pending, not ready, cheap, young."""
    phases = {"Pending": 0, "": 1, "Unknown": 1}
    since = ready_since(pod)
    try:
        cost = int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        cost = 0
    return (
        bool(pod.spec.node_name),
        phases.get(pod.status.phase, 2),
        since is not None,
        cost,
        -since.timestamp() if since else 0.0,
        -max((status.restart_count for status in pod.status.container_statuses), default=0),
        -created_at(pod.metadata).timestamp(),
    )
