"""The TFJob that people write: its fields and its rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from kfcore.api.job_rules import container_violations
from kfcore.api.jobs import Bool, Job, JobSpec, ReplicaSpec
from kfcore.api.meta import CEL
from kfcore.api.validation import FieldError

CONTAINER, PORT = "tensorflow", 2222
CHIEFS = ("Chief", "Master")
"""The types whose success is the job's; a job has at most one of them."""
WAIT_FOR_EVALUATOR = "kfcore/wait-for-evaluator"
"""An annotation of a job: "true" lets its evaluator end before the chief's success ends the job."""

_ONE_CHIEF = "must not have more than 1 Chief or Master role"


class TFJobSpec(JobSpec):
    """A job of any of five types of replicas."""

    replica_specs: dict[Literal["Chief", "Evaluator", "Master", "PS", "Worker"], ReplicaSpec] = Field(
        alias="tfReplicaSpecs",
        description="The replicas by type: Chief (or Master), Worker, PS, Evaluator.",
        json_schema_extra={
            CEL: [
                {
                    "rule": "['chief', 'master'].exists(role, !self.exists(name, name.lowerAscii() == role))",
                    "message": _ONE_CHIEF,
                }
            ]
        },
    )
    success_policy: Literal["", "AllWorkers"] | None = Field(
        None, description="Of a job without a chief: AllWorkers waits for every worker; by default worker 0 decides."
    )
    enable_dynamic_worker: Bool | None = Field(
        None, description="Whether workers may come, go and fail while the job runs; they are told of no other worker."
    )


class TFJob(Job[TFJobSpec], group="kubeflow.org", version="v1", kind="TFJob"):
    """Distributed training with TensorFlow."""

    container_name: ClassVar[str] = CONTAINER

    @property
    def chief(self) -> str | None:
        """The type that decides; None where the workers do. A type without replicas counts as absent."""
        specs = self.spec.replica_specs
        return next((name for name in CHIEFS if name in specs and specs[name].replicas != 0), None)

    def rule_violations(self) -> Iterator[FieldError]:
        yield from super().rule_violations()
        yield from container_violations(self, CONTAINER)
        if all(name in self.spec.replica_specs for name in CHIEFS):
            yield FieldError("spec.tfReplicaSpecs", _ONE_CHIEF)
