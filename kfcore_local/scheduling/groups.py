"""PodGroups for the scheduler: which group a pod belongs to, and what the group is told of its pods."""

from __future__ import annotations

import msgspec

from kfcore.api.meta import Manifest, Unstructured
from kfcore.jobs.gang import GangScheduler, VolcanoPodGroup
from kfcore_local.scheduling.kinds import SchedulablePod

VOLCANO_GROUP = "scheduling.k8s.io/group-name"
PLUGINS_GROUP = "scheduling.x-k8s.io/pod-group"


class GroupKind(msgspec.Struct, frozen=True):
    """The groups of one gang scheduler."""

    scheduler: GangScheduler

    def name_of(self, pod: SchedulablePod) -> str:
        """The name of the pod's group, in its namespace; empty for a pod on its own."""
        if pod.spec.scheduler_name != self.scheduler.scheduler_name:
            return ""
        if self.scheduler.kind is VolcanoPodGroup:
            return pod.metadata.annotations.get(VOLCANO_GROUP, "")
        return pod.metadata.labels.get(PLUGINS_GROUP, "")

    def status(self, group: Unstructured, placed: int, present: int, now: str) -> Manifest:
        """What the group's status should say when `placed` of its `present` pods have a place."""
        enough = placed >= minimum(group)
        if self.scheduler.kind is not VolcanoPodGroup:
            return {"phase": "Scheduled" if enough else "Scheduling", "scheduled": placed}
        if enough:
            condition = {"type": "Scheduled", "reason": "tasks in gang are ready to be scheduled", "message": ""}
        else:
            message = f"{present - placed}/{present} tasks in gang unschedulable: {minimum(group)} have to run at once"
            condition = {"type": "Unschedulable", "reason": "NotEnoughResources", "message": message}
        old: Manifest = next(iter((group.raw.get("status") or {}).get("conditions") or ()), {})
        same = all(old.get(name) == value for name, value in condition.items())
        since = old.get("lastTransitionTime", now) if same else now
        condition |= {"status": "True", "lastTransitionTime": since}
        return {"phase": "Running" if enough else "Inqueue", "conditions": [condition]}


def minimum(group: Unstructured) -> int:
    """How many pods of the group have to find a place at once."""
    return int((group.raw.get("spec") or {}).get("minMember") or 1)
