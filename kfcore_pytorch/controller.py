"""PyTorchJob's part of the flow: its defaults, the environment of its replicas, and when it has succeeded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kfcore.api.pod_template import PodTemplate
from kfcore.client.errors import ApiError
from kfcore.client.interface import Client
from kfcore.controller.permissions import READ, Permission, on
from kfcore.jobs.controller import JobController
from kfcore.jobs.replicas import Replicas
from kfcore.jobs.status import StatusUpdate
from kfcore_pytorch.api import CONTAINER, NO_INIT_CONTAINER, PORT, PyTorchJob
from kfcore_pytorch.cluster_spec import environment
from kfcore_pytorch.elastic import Autoscaler, reconcile_autoscaler
from kfcore_pytorch.init_container import InitContainers


class PyTorchJobController(JobController[PyTorchJob]):
    """Runs PyTorchJobs: the master decides; without one, the workers together."""

    container_name: ClassVar[str] = CONTAINER
    port: ClassVar[int] = PORT
    default_restart_policy: ClassVar[str] = "OnFailure"

    @classmethod
    def permissions(cls) -> tuple[Permission, ...]:
        return (*super().permissions(), on(Autoscaler, *READ, "create", "delete", "patch"))

    def __init__(self, client: Client, **arguments: Any) -> None:
        super().__init__(client, **arguments)
        self._autoscales = False
        options = self.options
        self._init_containers = InitContainers(
            options.init_container_image, options.init_container_max_tries, options.init_container_template_file
        )

    def set_defaults(self, job: PyTorchJob) -> None:
        super().set_defaults(job)
        policy = job.spec.elastic_policy
        if policy is not None:
            workers = job.spec.replica_specs["Worker"].replicas
            least, most = policy.min_replicas, policy.max_replicas
            if least is None:
                least = workers if most is None else most
            if most is None:
                most = least if policy.min_replicas is not None else workers
            job.spec.elastic_policy = policy.model_copy(update={"min_replicas": least, "max_replicas": most})
        if job.spec.nproc_per_node is None and (policy is None or policy.n_proc_per_node is None):
            job.spec.nproc_per_node = "auto"

    def min_available(self, job: PyTorchJob) -> int:
        """An elastic job can begin with its fewest workers."""
        everyone, policy = super().min_available(job), job.spec.elastic_policy
        if policy is None or policy.min_replicas is None:
            return everyone
        workers = job.spec.replica_specs["Worker"].replicas or 0
        return everyone - max(0, workers - policy.min_replicas)

    def is_master(self, job: PyTorchJob, replica_type: str, index: int) -> bool:
        if "Master" in job.spec.replica_specs:
            return replica_type == "Master"
        return index == 0

    def set_cluster_spec(self, job: PyTorchJob, template: PodTemplate, replica_type: str, index: int) -> None:
        ports: dict[str, int] = {name: self.port_of(job, name) for name in job.spec.replica_specs}
        for name, value in environment(job, ports, replica_type, index):
            template.set_env(name, value)
        if "Master" in job.spec.replica_specs and replica_type == "Worker":
            if job.metadata.annotations.get(NO_INIT_CONTAINER) == "true":
                return
            for container in self._init_containers.waiting_for(self.hosts(job, "Master")[0]):
                template.add_init_container(container)

    def is_running(self, job: PyTorchJob, replicas: Mapping[str, Replicas]) -> bool:
        return _deciding(replicas).active > 0

    def update_job_status(self, job: PyTorchJob, replicas: Mapping[str, Replicas], status: StatusUpdate) -> None:
        group = _deciding(replicas)
        elastic_success = group.type == "Worker" and job.spec.elastic_policy is not None and group.succeeded > 0
        if group.all_succeeded or elastic_success:
            status.succeed(self.succeeded_message(job))

    async def reconcile_dependents(self, job: PyTorchJob, *, wanted: bool) -> None:
        # Nobody watches autoscalers before there is an elastic job; then a job that is elastic no more is seen, too.
        self._autoscales = self._autoscales or job.spec.elastic_policy is not None
        if self._autoscales:
            try:
                await reconcile_autoscaler(self.client, self.reader, job, wanted=wanted)
            except ApiError as error:
                self.recorder.warning(job, "FailedAutoscaler", f"Error writing the HorizontalPodAutoscaler: {error}")
                raise

    def running_message(self, job: PyTorchJob) -> str:
        return f"PyTorchJob {job.name if 'Master' in job.spec.replica_specs else job.key} is running."

    def succeeded_message(self, job: PyTorchJob) -> str:
        if "Master" in job.spec.replica_specs:
            return f"PyTorchJob {job.name} is successfully completed."
        return super().succeeded_message(job)


def _deciding(replicas: Mapping[str, Replicas]) -> Replicas:
    """The replicas whose fate is the job's: the master, where there is one."""
    return replicas["Master"] if "Master" in replicas else replicas["Worker"]
