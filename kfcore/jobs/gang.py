"""Gang scheduling: a job's PodGroup, kept as the job asks, and what its pods carry to belong to it. Volcano and the
coscheduling of scheduler-plugins differ in a `GangScheduler` each; whether pods must wait is for the group to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from kfcore.api.jobs import Job, ReplicaSpec
from kfcore.api.meta import Manifest, Unstructured, controller_of, owner_reference, untyped
from kfcore.api.quantity import add_quantities
from kfcore.api.resource import Resource
from kfcore.client.errors import AlreadyExists, ApiError, NotFound
from kfcore.client.interface import Client, Preconditions, Reader
from kfcore.jobs.owned import Recorder
from kfcore.jobs.status import merge_diff

VolcanoPodGroup = untyped(
    Resource(
        "scheduling.volcano.sh",
        "v1beta1",
        "PodGroup",
        "podgroups",
        short_names=("pg", "podgroup-v1beta1"),
        subresources=frozenset({"status"}),
    )
)
SchedulerPluginsPodGroup = untyped(
    Resource(
        "scheduling.x-k8s.io",
        "v1alpha1",
        "PodGroup",
        "podgroups",
        short_names=("pg", "pgs"),
        subresources=frozenset({"status"}),
    )
)
PriorityClass = untyped(Resource("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False))

LOOK_AGAIN = 30.0
"""Seconds after which a group that does not admit its pods is looked at again, should its change have been missed."""
ANOTHER_SCHEDULER = (
    "Another scheduler is specified when gang-scheduling is enabled and it will not be overwritten"  # as users know it
)


class GangScheduler(Protocol):
    """What tells one gang scheduler from another."""

    @property
    def kind(self) -> type[Unstructured]: ...

    @property
    def scheduler_name(self) -> str: ...

    def spec(self, job: Job[Any], minimum: int, resources: Manifest, existing: Manifest) -> Manifest:
        """The fields of the group's spec that are the operator's, None for those that are to be absent."""

    def admits(self, group: Unstructured) -> bool:
        """Whether the job's pods may be created."""

    def mark(self, pod: Manifest, group: str, replica_type: str) -> None:
        """Make a pod, about to be created, a member of the group."""


@dataclass(frozen=True, slots=True)
class Volcano:
    kind: type[Unstructured] = VolcanoPodGroup
    scheduler_name: str = "volcano"

    def spec(self, job: Job[Any], minimum: int, resources: Manifest, existing: Manifest) -> Manifest:
        policy = job.spec.run_policy.scheduling_policy
        return {
            "minMember": minimum,
            # Volcano moves a group between queues, and refuses one without a queue.
            "queue": existing.get("queue") or (policy and policy.queue) or "default",
            "priorityClassName": (policy and policy.priority_class) or None,
            "minResources": resources or None,
        }

    def admits(self, group: Unstructured) -> bool:
        return (group.raw.get("status") or {}).get("phase", "") not in ("", "Pending")

    def mark(self, pod: Manifest, group: str, replica_type: str) -> None:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations["scheduling.k8s.io/group-name"] = group
        annotations["volcano.sh/task-spec"] = replica_type.lower()


@dataclass(frozen=True, slots=True)
class SchedulerPlugins:
    scheduler_name: str
    kind: type[Unstructured] = SchedulerPluginsPodGroup

    def spec(self, job: Job[Any], minimum: int, resources: Manifest, existing: Manifest) -> Manifest:
        policy = job.spec.run_policy.scheduling_policy
        return {
            "minMember": minimum,
            "minResources": resources or None,
            "scheduleTimeoutSeconds": policy and policy.schedule_timeout_seconds,
        }

    def admits(self, group: Unstructured) -> bool:
        return True  # its pods must be there before it counts them

    def mark(self, pod: Manifest, group: str, replica_type: str) -> None:
        pod["metadata"]["labels"]["scheduling.x-k8s.io/pod-group"] = group


def gang_scheduler(name: str) -> GangScheduler | None:
    """The scheduler of this name: `volcano` in any case, else one built on scheduler-plugins; None for none."""
    if name.lower() in ("", "none"):
        return None
    return Volcano() if name.lower() == "volcano" else SchedulerPlugins(name)


@dataclass(slots=True)
class PodGroups:
    """The groups of an operator's jobs."""

    scheduler: GangScheduler
    client: Client
    reader: Reader
    recorder: Recorder
    _priorities: dict[str, int] = field(default_factory=dict, init=False)

    async def admit(self, job: Job[Any], minimum: int) -> float | None:
        """Keep the job's group as the job asks. None when its pods may be created, else seconds until another look."""
        try:
            found = await self._find(job)
            if found is None or found.metadata.deletion_timestamp is not None:
                found = await self._create(job, minimum) if found is None else found
            elif (owner := controller_of(found)) is not None and owner.uid == job.metadata.uid:
                found = await self._change(job, minimum, found)
        except ApiError as error:
            self.recorder.warning(job, "FailedCreatePodGroup", f"Error creating: {error}")
            raise
        owner = controller_of(found) if found is not None else None
        if found is None or owner is None or owner.uid != job.metadata.uid:
            message = f'Error creating: podgroups "{job.name}" already exists and is not owned by this job'
            self.recorder.warning(job, "FailedCreatePodGroup", message)
            return LOOK_AGAIN
        waits = found.metadata.deletion_timestamp is not None or not self.scheduler.admits(found)
        return LOOK_AGAIN if waits else None

    async def delete(self, job: Job[Any]) -> None:
        """Remove the group of a job that holds no pods any more."""
        found = await self._find(job)
        owner = controller_of(found) if found is not None else None
        if found is None or owner is None or owner.uid != job.metadata.uid or found.metadata.deletion_timestamp:
            return
        try:
            uid = Preconditions(uid=found.metadata.uid)
            await self.client.delete(self.scheduler.kind, job.name, job.namespace, preconditions=uid)
        except NotFound:
            return  # the cache is late
        except ApiError as error:
            self.recorder.warning(job, "FailedDeletePodGroup", f"Error deleting: {error}")
            raise
        self.recorder.normal(job, "JobTerminated", "Job has been terminated. Deleting PodGroup")
        self.recorder.normal(job, "SuccessfulDeletePodGroup", f"Deleted PodGroup: {job.name}")

    def mark(self, job: Job[Any], pod: Manifest, replica_type: str) -> None:
        """Make a pod, about to be created, a member of the job's group."""
        if not pod["spec"].get("schedulerName"):
            pod["spec"]["schedulerName"] = self.scheduler.scheduler_name
        self.scheduler.mark(pod, job.name, replica_type)

    def is_overruled(self, spec: ReplicaSpec) -> bool:
        """Whether a template asks for another scheduler, which then schedules its pods one by one."""
        name = (spec.template.raw.get("spec") or {}).get("schedulerName")
        return bool(name) and name != self.scheduler.scheduler_name

    async def _find(self, job: Job[Any]) -> Unstructured | None:
        try:
            return await self.reader.get(self.scheduler.kind, job.name, job.namespace)
        except NotFound:
            return None

    async def _create(self, job: Job[Any], minimum: int) -> Unstructured:
        spec = await self._spec(job, minimum, {})
        annotations = {
            name: value
            for name, value in job.metadata.annotations.items()
            if not name.startswith("kubectl.kubernetes.io/")
        }
        metadata: Manifest = {"name": job.name, "namespace": job.namespace, "ownerReferences": [owner_reference(job)]}
        if annotations:
            metadata["annotations"] = annotations
        body = {"metadata": metadata, "spec": {name: value for name, value in spec.items() if value is not None}}
        try:
            return await self.client.create(self.scheduler.kind, body, job.namespace)
        except AlreadyExists:
            return await self.client.get(self.scheduler.kind, job.name, job.namespace)  # the cache is late

    async def _change(self, job: Job[Any], minimum: int, found: Unstructured) -> Unstructured:
        """Patch what is the operator's and differs; what the scheduler or an administrator set stays."""
        existing = found.raw.get("spec") or {}
        wanted = await self._spec(job, minimum, existing)
        ours = {name: existing[name] for name in wanted if name in existing}
        patch = merge_diff(ours, {name: value for name, value in wanted.items() if value is not None})
        if not patch:
            return found
        body = {"metadata": {"uid": found.metadata.uid}, "spec": patch}
        return await self.client.patch(self.scheduler.kind, job.name, job.namespace, body)

    async def _spec(self, job: Job[Any], minimum: int, existing: Manifest) -> Manifest:
        policy = job.spec.run_policy.scheduling_policy
        if policy is not None and policy.min_resources is not None:
            resources = dict(policy.min_resources)
        else:
            specs = job.spec.replica_specs
            priorities = {name: await self._priority(spec) for name, spec in specs.items()}
            resources = minimum_resources(specs, priorities, minimum)
        return self.scheduler.spec(job, minimum, resources, existing)

    async def _priority(self, spec: ReplicaSpec) -> int:
        """The value of a template's priority class; a class that is not there, or not to be read, counts as 0."""
        name = (spec.template.raw.get("spec") or {}).get("priorityClassName")
        if not name:
            return 0
        if name not in self._priorities:  # a class's value cannot change
            try:
                self._priorities[name] = int((await self.client.get(PriorityClass, name)).raw.get("value") or 0)
            except ApiError:
                return 0
        return self._priorities[name]


def minimum_resources(specs: Mapping[str, ReplicaSpec], priorities: Mapping[str, int], minimum: int) -> Manifest:
    """What the `minimum` most important pods request together; among types of one priority in alphabetical order."""
    requests: dict[str, list[str | int | float]] = {}
    left = minimum
    for name in sorted(specs, key=lambda name: (-priorities.get(name, 0), name)):
        replicas = 1 if specs[name].replicas is None else specs[name].replicas
        count = max(0, min(left, replicas or 0))
        left -= count
        for resource, quantity in _requests(specs[name]):
            requests.setdefault(resource, []).extend([quantity] * count)
    return {resource: add_quantities(values) for resource, values in requests.items() if values}


def _requests(spec: ReplicaSpec) -> Iterator[tuple[str, str | int | float]]:
    for container in spec.template.containers:
        resources = container.get("resources") or {}
        yield from (resources.get("requests") or resources.get("limits") or {}).items()
