"""The rules that every job keeps beyond the types of its fields: names, containers, and what may manage it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kfcore.api.validation import DNS_1035, DNS_1035_TEXT, FieldError

if TYPE_CHECKING:
    from kfcore.api.jobs import Job

OUR_MANAGER = "kubeflow.org/training-operator"
MULTIKUEUE = "kueue.x-k8s.io/multikueue"
LONGEST_NAME = 63


def job_violations(job: Job[Any]) -> Iterator[FieldError]:
    """What a job of any kind breaks."""
    yield from _name_violations(job)
    managed_by = job.spec.run_policy.managed_by
    if managed_by is not None and managed_by not in (OUR_MANAGER, MULTIKUEUE):
        yield FieldError("spec.runPolicy.managedBy", f"expected {OUR_MANAGER} or {MULTIKUEUE}, found {managed_by!r}")
    alias = job.spec.replicas_alias()
    if not job.spec.replica_specs:
        yield FieldError(f"spec.{alias}", "required: at least one replica type")
    for replica_type, spec in job.spec.replica_specs.items():
        path = f"spec.{alias}.{replica_type}"
        if spec.replicas is not None and spec.replicas < 0:
            yield FieldError(f"{path}.replicas", f"expected 0 or more, found {spec.replicas}")
        containers = spec.template.containers
        if not containers:
            yield FieldError(f"{path}.template.spec.containers", "required: at least one container")
        for index, container in enumerate(containers):
            if not container.get("image"):
                yield FieldError(f"{path}.template.spec.containers[{index}].image", "required, but missing")


def container_violations(job: Job[Any], container_name: str) -> Iterator[FieldError]:
    """Types without the container that their framework runs in."""
    for replica_type, spec in job.spec.replica_specs.items():
        if spec.template.containers and spec.template.container(container_name) is None:
            path = f"spec.{job.spec.replicas_alias()}.{replica_type}.template.spec.containers"
            yield FieldError(path, f"expected a container named {container_name}")


def _name_violations(job: Job[Any]) -> Iterator[FieldError]:
    if not DNS_1035.fullmatch(job.name):
        yield FieldError("metadata.name", f"{DNS_1035_TEXT}; found {job.name!r}")
        return
    for replica_type, spec in job.spec.replica_specs.items():
        last = max(0, (1 if spec.replicas is None else spec.replicas) - 1)
        name = f"{job.name}-{replica_type.lower()}-{last}"
        if len(name) > LONGEST_NAME:
            yield FieldError(
                "metadata.name",
                f"too long by {len(name) - LONGEST_NAME}: replicas would be named {name}, and a name may have "
                f"{LONGEST_NAME} characters",
            )
            return
