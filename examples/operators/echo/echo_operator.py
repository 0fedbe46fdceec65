"""A whole operator: EchoJob, a job of identical workers that know each other."""

from typing import Literal

from pydantic import Field

from kfcore import Job, JobController, JobSpec, ReplicaSpec


class EchoJobSpec(JobSpec):
    """A job of identical workers."""

    replica_specs: dict[Literal["Worker"], ReplicaSpec] = Field(alias="echoReplicaSpecs")


class EchoJob(Job[EchoJobSpec], group="example.com", version="v1", kind="EchoJob"): ...


class EchoJobController(JobController[EchoJob]):
    container_name, port = "echo", 9000

    def set_cluster_spec(self, job, template, replica_type, index):
        template.set_env("ECHO_PEERS", ",".join(self.hosts(job, "Worker")))

    def update_job_status(self, job, replicas, status):
        if replicas["Worker"].all_succeeded:
            status.succeed(f"EchoJob {job.key} is successfully completed.")
