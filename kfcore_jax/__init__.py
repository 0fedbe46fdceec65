"""JAXJob of kubeflow.org/v1: identical processes that `jax.distributed` joins; the whole plugin, on one page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from kfcore.api.job_rules import container_violations
from kfcore.api.jobs import Job, JobSpec, ReplicaSpec
from kfcore.api.pod_template import PodTemplate
from kfcore.api.validation import FieldError
from kfcore.jobs.controller import JobController

__all__ = ["JAXJob", "JAXJobController"]

CONTAINER, PORT = "jax", 6666


class JAXJobSpec(JobSpec):
    """A job of workers."""

    replica_specs: dict[Literal["Worker"], ReplicaSpec] = Field(
        alias="jaxReplicaSpecs", description="The replicas by type: Worker."
    )


class JAXJob(Job[JAXJobSpec], group="kubeflow.org", version="v1", kind="JAXJob", scales="Worker"):
    """Distributed training with JAX."""

    container_name: ClassVar[str] = CONTAINER

    def rule_violations(self) -> Iterator[FieldError]:
        yield from super().rule_violations()
        yield from container_violations(self, CONTAINER)


class JAXJobController(JobController[JAXJob]):
    """Runs JAXJobs: worker 0 coordinates, and all workers must succeed."""

    container_name: ClassVar[str] = CONTAINER
    port: ClassVar[int] = PORT

    def set_cluster_spec(self, job: JAXJob, template: PodTemplate, replica_type: str, index: int) -> None:
        hosts = self.hosts(job, replica_type)
        template.set_env("PYTHONUNBUFFERED", "1")
        template.set_env("COORDINATOR_PORT", str(self.port_of(job, replica_type)))
        template.set_env("COORDINATOR_ADDRESS", hosts[0])
        template.set_env("NUM_PROCESSES", str(len(hosts)))
        template.set_env("PROCESS_ID", str(index))
