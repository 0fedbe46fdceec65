"""TFJob's part of the flow: TF_CONFIG of its replicas, and when it runs, has succeeded or has failed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar

from kfcore.api.pod_template import PodTemplate
from kfcore.jobs.controller import JobController
from kfcore.jobs.replicas import Replicas
from kfcore.jobs.status import StatusUpdate
from kfcore_tf.api import CONTAINER, PORT, WAIT_FOR_EVALUATOR, TFJob
from kfcore_tf.cluster_spec import is_local, sparse_tf_config, tf_config


class TFJobController(JobController[TFJob]):
    """Runs TFJobs: the chief decides; without one, worker 0 or all workers."""

    container_name: ClassVar[str] = CONTAINER
    port: ClassVar[int] = PORT

    def set_defaults(self, job: TFJob) -> None:
        super().set_defaults(job)
        # In alphabetical order types are created and judged; the first that failed is named in the Failed condition.
        job.spec.replica_specs = dict(sorted(job.spec.replica_specs.items()))

    def is_master(self, job: TFJob, replica_type: str, index: int) -> bool:
        return replica_type == job.chief if job.chief else replica_type == "Worker" and index == 0

    def set_cluster_spec(self, job: TFJob, template: PodTemplate, replica_type: str, index: int) -> None:
        if is_local(job):
            return
        # The cluster's domain is the operator's to know: most clusters resolve names without it.
        domain = os.environ.get("CUSTOM_CLUSTER_DOMAIN", "")
        suffix = f".{job.namespace}.svc" + (f".{domain}" if domain else "")
        cluster = {
            name.lower(): [f"{host}{suffix}:{self.port_of(job, name)}" for host in self.hosts(job, name)]
            for name in job.spec.replica_specs
        }
        render = sparse_tf_config if job.spec.enable_dynamic_worker else tf_config
        template.set_env("TF_CONFIG", render(cluster, replica_type.lower(), index), container=CONTAINER)

    def is_running(self, job: TFJob, replicas: Mapping[str, Replicas]) -> bool:
        return any(group.active for group in _deciding(job, replicas))

    def update_job_status(self, job: TFJob, replicas: Mapping[str, Replicas], status: StatusUpdate) -> None:
        deciding = _deciding(job, replicas)
        worker_0_decides = job.chief is None and job.spec.success_policy != "AllWorkers"
        done = all(group.all_succeeded for group in deciding) or (
            worker_0_decides and any(group.type == "Worker" and 0 in group.completed for group in deciding)
        )
        if done and not _evaluator_is_awaited(job, replicas):
            status.succeed(self.succeeded_message(job))

    def tolerates_failure(self, job: TFJob, replica_type: str) -> bool:
        if replica_type != "Worker" or not job.spec.enable_dynamic_worker:
            return False
        return job.spec.replica_specs["Worker"].restart_policy != "ExitCode"  # which says itself which ends are final

    def restarting_message(self, job: TFJob, replica_type: str, failed: int, *, running: bool) -> str:
        return super().restarting_message(job, replica_type, failed, running=False)

    def failed_message(self, job: TFJob, replica_type: str, failed: int) -> str:
        return f"TFJob {job.key} has failed because {failed} {replica_type} replica(s) failed."


def _deciding(job: TFJob, replicas: Mapping[str, Replicas]) -> list[Replicas]:
    """The replicas whose fate is the job's: the chief, else the workers, else all that there are."""
    wanted = {name: group for name, group in replicas.items() if group.wanted}
    for name in (job.chief, "Worker"):
        if name in wanted:
            return [wanted[name]]
    return list(wanted.values())


def _evaluator_is_awaited(job: TFJob, replicas: Mapping[str, Replicas]) -> bool:
    """Whether the job asks that its evaluator end first, to judge the final model, and it has not."""
    evaluator = replicas.get("Evaluator")
    asked = job.metadata.annotations.get(WAIT_FOR_EVALUATOR) == "true"
    return asked and evaluator is not None and evaluator.wanted > 0 and not evaluator.all_succeeded
