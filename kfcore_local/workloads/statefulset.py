"""StatefulSet: pods with names and places of their own, made, replaced and removed in order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from kfcore.api.meta import Manifest
from kfcore.client.errors import AlreadyExists, ApiError, NotFound
from kfcore.client.interface import Preconditions
from kfcore.client.selectors import LabelSelector
from kfcore.controller.controller import Result
from kfcore_local.workloads.kinds import ControllerRevision, PersistentVolumeClaim, Pod, StatefulSet
from kfcore_local.workloads.pods import (
    RETRY_SECONDS,
    claim,
    is_available,
    is_finished,
    is_ready,
    is_terminating,
    seconds_to_available,
)
from kfcore_local.workloads.reconciler import WorkloadReconciler
from kfcore_local.workloads.revisions import REVISION_LABEL, Revisions, find_revisions, forget_old
from kfcore_local.workloads.statefulset_pods import (
    claim_owned_by_pod,
    claims_of,
    ordinal_of,
    ordinals,
    pod_manifest,
)
from kfcore_local.workloads.status import without_zeros


class Replicas(msgspec.Struct):
    """One reconcile's view of a StatefulSet: its pods by ordinal, as they are and as this reconcile makes them."""

    owner: StatefulSet
    revisions: Revisions
    pods: dict[int, Pod]

    @property
    def ordered(self) -> bool:
        return self.owner.spec.pod_management_policy != "Parallel"

    def revision_for(self, ordinal: int) -> ControllerRevision:
        """Which revision a pod that is created now is made from."""
        strategy, start = self.owner.spec.update_strategy, ordinals(self.owner).start
        if strategy.type != "RollingUpdate":
            return self.revisions.update
        if strategy.rolling_update is not None:
            kept = strategy.rolling_update.partition
        else:
            kept = int(self.owner.status.get("currentReplicas") or 0)
        return self.revisions.current if ordinal < start + kept else self.revisions.update


class StatefulSetReconciler(WorkloadReconciler[StatefulSet]):
    """Brings a StatefulSet's pods to its size and template: one pod at a time, unless it says Parallel."""

    kind = StatefulSet

    async def sync(self, owner: StatefulSet) -> Result:
        selector = LabelSelector.from_spec(owner.spec.selector)
        if not selector:
            return Result()
        pods = await claim(
            self.client, self.reader, Pod, owner, selector, lambda pod: ordinal_of(owner, pod.name) is not None
        )
        by_ordinal = {ordinal: pod for pod in pods if (ordinal := ordinal_of(owner, pod.name)) is not None}
        revisions = await find_revisions(self.client, self.reader, owner, selector)
        replicas = Replicas(owner, revisions, by_ordinal)
        failure: ApiError | None = None
        if owner.metadata.deletion_timestamp is None:
            try:
                await self._step(replicas)
            except ApiError as error:
                failure = error
        await self.write_status(owner, self._status(replicas))
        if failure:
            return Result(RETRY_SECONDS)
        used = {pod.metadata.labels.get(REVISION_LABEL, "") for pod in replicas.pods.values()}
        await forget_old(self.client, owner, revisions, used)
        present = list(replicas.pods.values())
        return Result(seconds_to_available(present, owner.spec.min_ready_seconds, self.clock.now()))

    async def _step(self, replicas: Replicas) -> None:
        if await self._fill(replicas) and await self._shrink(replicas):
            await self._update(replicas)

    async def _fill(self, replicas: Replicas) -> bool:
        """Create what is missing, replace what has finished; False when the next step has to wait for this one."""
        owner = replicas.owner
        for ordinal in ordinals(owner):
            pod = replicas.pods.get(ordinal)
            if pod is not None and is_finished(pod) and not is_terminating(pod):
                failed = pod.status.phase == "Failed"
                reason, what = ("RecreatingFailedPod", "failed") if failed else ("RecreatingTerminatedPod", "finished")
                self.recorder.warning(owner, reason, f"StatefulSet {owner.key} is recreating {what} Pod {pod.name}")
                await self._delete(replicas, ordinal)
                pod = replicas.pods.get(ordinal)
            if pod is None:
                replicas.pods[ordinal] = await self._create(owner, replicas.revision_for(ordinal), ordinal)
                if replicas.ordered:
                    return False
            elif replicas.ordered and (is_terminating(pod) or not self._is_available(owner, pod)):
                return False
        return True

    async def _shrink(self, replicas: Replicas) -> bool:
        """Delete the pods beyond the size, from the highest ordinal down."""
        owner, wanted = replicas.owner, ordinals(replicas.owner)
        condemned = sorted((ordinal for ordinal in replicas.pods if ordinal not in wanted), reverse=True)
        unhealthy = [
            ordinal for ordinal, pod in sorted(replicas.pods.items()) if is_terminating(pod) or not is_ready(pod)
        ]
        for ordinal in condemned:
            pod = replicas.pods[ordinal]
            if is_terminating(pod):
                if replicas.ordered:
                    return False
                continue
            if replicas.ordered and not self._is_available(owner, pod) and ordinal != unhealthy[0]:
                return False
            await self._release_claims(owner, ordinal, pod)
            await self._delete(replicas, ordinal)
            if replicas.ordered:
                return False
        return not condemned

    async def _update(self, replicas: Replicas) -> None:
        """Replace pods of an older revision, from the highest ordinal down to the partition, one at a time."""
        strategy, wanted = replicas.owner.spec.update_strategy, ordinals(replicas.owner)
        if strategy.type != "RollingUpdate":
            return
        partition = strategy.rolling_update.partition if strategy.rolling_update else 0
        for ordinal in reversed(wanted[partition:]):
            pod = replicas.pods[ordinal]
            outdated = pod.metadata.labels.get(REVISION_LABEL) != replicas.revisions.update.name
            if outdated and not is_terminating(pod):
                await self._delete(replicas, ordinal)
                return
            if is_terminating(pod) or not self._is_available(replicas.owner, pod):
                return

    async def _create(self, owner: StatefulSet, revision: ControllerRevision, ordinal: int) -> Pod:
        manifest = pod_manifest(owner, revision, ordinal)
        name = manifest["metadata"]["name"]
        for claim_manifest in claims_of(owner, ordinal).values():
            await self._create_claim(owner, claim_manifest, name)
        try:
            pod = await self.client.create(Pod, manifest, owner.namespace)
        except ApiError as error:
            message = f"create Pod {name} in StatefulSet {owner.name} failed error: {error}"
            self.recorder.warning(owner, "FailedCreate", message)
            raise
        self.recorder.normal(owner, "SuccessfulCreate", f"create Pod {name} in StatefulSet {owner.name} successful")
        return pod

    async def _create_claim(self, owner: StatefulSet, body: Manifest, pod_name: str) -> None:
        name = body["metadata"]["name"]
        what = f"create Claim {name} Pod {pod_name} in StatefulSet {owner.name}"
        try:
            await self.client.create(PersistentVolumeClaim, body, owner.namespace)
        except AlreadyExists:  # a claim outlives its pod: that is what it is for
            return
        except ApiError as error:
            self.recorder.warning(owner, "FailedCreate", f"{what} failed error: {error}")
            raise
        self.recorder.normal(owner, "SuccessfulCreate", f"{what} success")

    async def _release_claims(self, owner: StatefulSet, ordinal: int, pod: Pod) -> None:
        """Where the set says so, tie the claims of a pod that is scaled away to that pod."""
        policy = owner.spec.persistent_volume_claim_retention_policy
        if policy is None or policy.when_scaled != "Delete":
            return
        for body in claims_of(owner, ordinal).values():
            patch = {"metadata": {"ownerReferences": [claim_owned_by_pod(pod)]}}
            with suppress(NotFound):
                await self.client.patch(PersistentVolumeClaim, body["metadata"]["name"], owner.namespace, patch)

    async def _delete(self, replicas: Replicas, ordinal: int) -> None:
        """Delete a pod; it stays in the view as terminating when the server keeps it for its grace period."""
        owner, pod = replicas.owner, replicas.pods[ordinal]
        with suppress(NotFound):
            await self.client.delete(Pod, pod.name, pod.namespace, preconditions=Preconditions(uid=pod.metadata.uid))
            message = f"delete Pod {pod.name} in StatefulSet {owner.name} successful"
            self.recorder.normal(owner, "SuccessfulDelete", message)
        try:
            replicas.pods[ordinal] = await self.client.get(Pod, pod.name, pod.namespace)
        except NotFound:
            del replicas.pods[ordinal]

    def _is_available(self, owner: StatefulSet, pod: Pod) -> bool:
        return is_available(pod, owner.spec.min_ready_seconds, self.clock.now())

    def _status(self, replicas: Replicas) -> Manifest:
        owner, revisions = replicas.owner, replicas.revisions
        pods: Sequence[Pod] = list(replicas.pods.values())
        current, update = revisions.current.name, revisions.update.name
        updated = _of_revision(pods, update)
        ready = sum(map(is_ready, pods))
        rolling = owner.spec.update_strategy.type == "RollingUpdate"
        if rolling and updated == len(pods) == ready and len(pods) == owner.spec.replicas:
            current = update
        counts = {
            "observedGeneration": owner.metadata.generation,
            "readyReplicas": ready,
            "currentReplicas": _of_revision(pods, current),
            "updatedReplicas": updated,
            "currentRevision": current,
            "updateRevision": update,
        }
        return {
            **without_zeros(counts),
            "replicas": len(pods),
            "availableReplicas": sum(self._is_available(owner, pod) for pod in pods),
            "collisionCount": revisions.collisions,
        }


def _of_revision(pods: Sequence[Pod], revision: str) -> int:
    return sum(not is_terminating(pod) and pod.metadata.labels.get(REVISION_LABEL) == revision for pod in pods)
