"""Deployment: a replica set for each version of the template, and the way from one to the next.

The replica sets make the pods; this controller only says how many each should have (`rolling.py` does the sums).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from kfcore.api.meta import Manifest, controller_of, owner_reference
from kfcore.client.errors import AlreadyExists, ApiError, NotFound
from kfcore.client.interface import Preconditions, Propagation
from kfcore.client.selectors import LabelSelector
from kfcore.controller.controller import Result
from kfcore_local.workloads.deployment_status import (
    deployment_condition,
    deployment_status,
    has_deadline,
    is_complete,
    seconds_to_deadline,
)
from kfcore_local.workloads.kinds import Deployment, Pod, ReplicaSet
from kfcore_local.workloads.pods import RETRY_SECONDS, claim, is_finished
from kfcore_local.workloads.reconciler import WorkloadReconciler
from kfcore_local.workloads.rolling import (
    DESIRED,
    MAXIMUM,
    REVISION,
    by_age,
    new_set_replicas,
    number_in,
    old_sets_scaled_down,
    proportional,
    wanted_total,
)
from kfcore_local.workloads.status import condition, with_condition
from kfcore_local.workloads.templates import TEMPLATE_HASH_LABEL, same_template, short_hash, with_labels

_NOT_INHERITED = {"kubectl.kubernetes.io/last-applied-configuration", REVISION, DESIRED, MAXIMUM}


class Rollout(msgspec.Struct):
    """One reconcile's view of a Deployment: what there is, and what it has found so far."""

    deployment: Deployment
    sets: dict[str, ReplicaSet]
    conditions: list[Manifest]
    collisions: int
    new: ReplicaSet | None = None
    revision: str = msgspec.field(default="")

    @property
    def old(self) -> list[ReplicaSet]:
        return [item for item in self.sets.values() if self.new is None or item.name != self.new.name]

    @property
    def active(self) -> list[ReplicaSet]:
        return [item for item in self.sets.values() if item.spec.replicas]


class DeploymentReconciler(WorkloadReconciler[Deployment]):
    """Moves a Deployment's replica sets towards its template and size, one step a reconcile."""

    kind = Deployment

    async def sync(self, deployment: Deployment) -> Result:
        selector = LabelSelector.from_spec(deployment.spec.selector)
        if not selector:
            self.recorder.warning(
                deployment, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required."
            )
            return Result()
        owned = await claim(self.client, self.reader, ReplicaSet, deployment, selector, lambda _: True)
        rollout = Rollout(
            deployment,
            {item.name: item for item in by_age(owned)},
            list(deployment.status.get("conditions") or []),
            int(deployment.status.get("collisionCount") or 0),
        )
        rollout.new = next((item for item in rollout.sets.values() if self._is_new(deployment, item)), None)
        failure: ApiError | None = None
        if deployment.metadata.deletion_timestamp is None:
            try:
                await self._step(rollout)
            except ApiError as error:
                failure = error
        now = self.clock.now()
        status = deployment_status(
            deployment, rollout.new, list(rollout.sets.values()), rollout.conditions, rollout.collisions, now
        )
        await self._annotate(rollout)
        await self.write_status(deployment, status)
        if failure:
            return Result(RETRY_SECONDS)
        return Result(seconds_to_deadline(deployment, status, now))

    async def _step(self, rollout: Rollout) -> None:
        deployment = rollout.deployment
        self._note_pause(rollout)
        if deployment.spec.paused or self._is_scaling(rollout):
            await self._adopt_new(rollout)
            await self._scale_all(rollout)
        elif deployment.spec.strategy.type == "Recreate":
            await self._recreate(rollout)
        else:
            await self._roll(rollout)
        if is_complete(deployment, deployment.status):
            await self._clean_up(rollout)

    async def _roll(self, rollout: Rollout) -> None:
        new = await self._ensure_new(rollout)
        wanted = new_set_replicas(rollout.deployment, list(rollout.sets.values()), new.spec.replicas)
        if wanted != new.spec.replicas:
            await self._scale(rollout, new, wanted)
            return
        for name, replicas in old_sets_scaled_down(rollout.deployment, new, rollout.old).items():
            await self._scale(rollout, rollout.sets[name], replicas)

    async def _recreate(self, rollout: Rollout) -> None:
        await self._adopt_new(rollout)
        if running := [item for item in rollout.old if item.spec.replicas]:
            for item in running:
                await self._scale(rollout, item, 0)
            return
        if await self._old_pods_run(rollout):
            return
        new = await self._ensure_new(rollout)
        if new.spec.replicas != rollout.deployment.spec.replicas:
            await self._scale(rollout, new, rollout.deployment.spec.replicas)

    async def _old_pods_run(self, rollout: Rollout) -> bool:
        """Whether a pod of an old replica set still works; it has to be gone, not just on its way out."""
        uids = {item.metadata.uid for item in rollout.old}
        selector = LabelSelector.from_spec(rollout.deployment.spec.selector)
        for pod in await self.client.list(Pod, rollout.deployment.namespace, label_selector=selector):
            controller = controller_of(pod)
            if controller and controller.uid in uids and not is_finished(pod):
                return True
        return False

    async def _scale_all(self, rollout: Rollout) -> None:
        """Follow a change of `spec.replicas` without going on with the rollout."""
        wanted, active = rollout.deployment.spec.replicas, rollout.active
        if len(active) <= 1:
            latest = active[0] if active else rollout.new or next(iter(by_age(rollout.sets.values())[::-1]), None)
            sizes = {latest.name: wanted} if latest else {}
        elif rollout.new and _is_saturated(rollout.deployment, rollout.new):
            sizes = {item.name: 0 for item in rollout.old}
        elif rollout.deployment.spec.strategy.type == "RollingUpdate":
            sizes = proportional(rollout.deployment, active)
        else:
            sizes = {item.name: item.spec.replicas for item in active}
        for name, replicas in sizes.items():
            await self._scale(rollout, rollout.sets[name], replicas)

    async def _scale(self, rollout: Rollout, item: ReplicaSet, replicas: int) -> None:
        """Give one replica set its size, and the annotations that proportional scaling goes by."""
        deployment = rollout.deployment
        sizes = {DESIRED: str(deployment.spec.replicas), MAXIMUM: str(wanted_total(deployment))}
        body: Manifest = {}
        if not sizes.items() <= item.metadata.annotations.items():
            body["metadata"] = {"annotations": sizes}
        if replicas != item.spec.replicas:
            body["spec"] = {"replicas": replicas}
        if not body:
            return
        rollout.sets[item.name] = scaled = await self.client.patch(ReplicaSet, item.name, item.namespace, body)
        if rollout.new and rollout.new.name == item.name:
            rollout.new = scaled
        if "spec" in body:
            self._tell_scaled(deployment, item.name, item.spec.replicas, replicas)

    def _tell_scaled(self, deployment: Deployment, name: str, old: int, new: int) -> None:
        direction = "up" if new > old else "down"
        self.recorder.normal(
            deployment, "ScalingReplicaSet", f"Scaled {direction} replica set {name} from {old} to {new}"
        )

    async def _ensure_new(self, rollout: Rollout) -> ReplicaSet:
        """The replica set of the present template, created if need be."""
        await self._adopt_new(rollout)
        if rollout.new is not None:
            return rollout.new
        deployment = rollout.deployment
        while rollout.new is None:
            salt = str(rollout.collisions) if rollout.collisions else ""
            body = self._new_set(rollout, short_hash(deployment.spec.template, salt))
            try:
                created = await self.client.create(ReplicaSet, body, deployment.namespace)
            except AlreadyExists:
                created = await self.client.get(ReplicaSet, body["metadata"]["name"], deployment.namespace)
                controller = controller_of(created)
                if not controller or controller.uid != deployment.metadata.uid or not self._is_new(deployment, created):
                    rollout.collisions += 1
                    continue
            except ApiError as error:
                message = f'Failed to create new replica set "{body["metadata"]["name"]}": {error}'
                self.recorder.warning(deployment, "ReplicaSetCreateError", message)
                self._note(rollout, "ReplicaSetCreateError", message, status="False")
                raise
            else:
                if created.spec.replicas:
                    self._tell_scaled(deployment, created.name, 0, created.spec.replicas)
                self._note(rollout, "NewReplicaSetCreated", f'Created new replica set "{created.name}"')
            rollout.new = rollout.sets[created.name] = created
        rollout.revision = rollout.new.metadata.annotations.get(REVISION, "")
        return rollout.new

    def _new_set(self, rollout: Rollout, hash_: str) -> Manifest:
        deployment, label = rollout.deployment, {TEMPLATE_HASH_LABEL: hash_}
        template = with_labels(deployment.spec.template, label)
        selector = dict(deployment.spec.selector)
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), **label}
        return {
            "apiVersion": ReplicaSet.resource.api_version,
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{deployment.name}-{hash_}",
                "namespace": deployment.namespace,
                "labels": template["metadata"]["labels"],
                "annotations": {
                    **_inherited(deployment.metadata.annotations),
                    REVISION: str(_last_revision(rollout.old) + 1),
                    DESIRED: str(deployment.spec.replicas),
                    MAXIMUM: str(wanted_total(deployment)),
                },
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": {
                "replicas": new_set_replicas(deployment, list(rollout.sets.values()), 0),
                "minReadySeconds": deployment.spec.min_ready_seconds,
                "selector": selector,
                "template": template,
            },
        }

    async def _adopt_new(self, rollout: Rollout) -> None:
        """Bring an existing newest replica set up to date: a rollback makes an old one the newest."""
        new, deployment = rollout.new, rollout.deployment
        if new is None:
            return
        rollout.revision = str(max(_revision(new), _last_revision(rollout.old) + 1))
        annotations = {**_inherited(deployment.metadata.annotations), REVISION: rollout.revision}
        body: Manifest = {}
        if not annotations.items() <= new.metadata.annotations.items():
            body["metadata"] = {"annotations": annotations}
        if new.spec.min_ready_seconds != deployment.spec.min_ready_seconds:
            body["spec"] = {"minReadySeconds": deployment.spec.min_ready_seconds}
        if body:
            rollout.new = await self.client.patch(ReplicaSet, new.name, new.namespace, body)
            rollout.sets[new.name] = rollout.new
        if condition(rollout.conditions, "Progressing") is None:
            self._note(rollout, "FoundNewReplicaSet", f'Found new replica set "{new.name}"')

    async def _annotate(self, rollout: Rollout) -> None:
        """Tell the revision on the Deployment itself, where `kubectl rollout history` looks."""
        deployment = rollout.deployment
        if rollout.revision and deployment.metadata.annotations.get(REVISION) != rollout.revision:
            # With the status: an annotation that came otherwise would be a change of the Deployment's generation.
            body = {"metadata": {"annotations": {REVISION: rollout.revision}}}
            await self.client.patch(Deployment, deployment.name, deployment.namespace, body, subresource="status")

    async def _clean_up(self, rollout: Rollout) -> None:
        """Forget the oldest revisions beyond the limit."""
        limit = rollout.deployment.spec.revision_history_limit
        if limit is None:
            return
        idle = [
            item
            for item in rollout.old
            if not item.spec.replicas and not item.status.get("replicas") and not item.metadata.deletion_timestamp
        ]
        for item in sorted(idle, key=_revision)[: max(0, len(idle) - limit)]:
            with suppress(NotFound):
                await self.client.delete(
                    ReplicaSet,
                    item.name,
                    item.namespace,
                    preconditions=Preconditions(uid=item.metadata.uid),
                    propagation=Propagation.BACKGROUND,
                )
            del rollout.sets[item.name]

    def _note_pause(self, rollout: Rollout) -> None:
        current = condition(rollout.conditions, "Progressing")
        reason = current.get("reason") if current else None
        if not has_deadline(rollout.deployment) or reason == "ProgressDeadlineExceeded":
            return
        if rollout.deployment.spec.paused and reason != "DeploymentPaused":
            self._note(rollout, "DeploymentPaused", "Deployment is paused", status="Unknown")
        elif not rollout.deployment.spec.paused and reason == "DeploymentPaused":
            self._note(rollout, "DeploymentResumed", "Deployment is resumed", status="Unknown")

    def _note(self, rollout: Rollout, reason: str, message: str, status: str = "True") -> None:
        if has_deadline(rollout.deployment):
            new = deployment_condition("Progressing", status, reason, message, self.clock.now())
            rollout.conditions = with_condition(rollout.conditions, new)

    def _is_scaling(self, rollout: Rollout) -> bool:
        wanted = str(rollout.deployment.spec.replicas)
        return any(item.metadata.annotations.get(DESIRED, wanted) != wanted for item in rollout.active)

    @staticmethod
    def _is_new(deployment: Deployment, item: ReplicaSet) -> bool:
        return same_template(item.spec.template, deployment.spec.template)


def _is_saturated(deployment: Deployment, item: ReplicaSet) -> bool:
    sizes = (str(item.spec.replicas), item.metadata.annotations.get(DESIRED), str(item.status.get("availableReplicas")))
    return set(sizes) == {str(deployment.spec.replicas)}


def _inherited(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if key not in _NOT_INHERITED}


def _revision(item: ReplicaSet) -> int:
    return number_in(item, REVISION)


def _last_revision(sets: Sequence[ReplicaSet]) -> int:
    return max(map(_revision, sets), default=0)
