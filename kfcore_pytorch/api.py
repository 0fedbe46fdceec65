"""The PyTorchJob that people write: its fields, its defaults and its rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from kfcore.api.job_rules import container_violations
from kfcore.api.jobs import Bool, Int32, Job, JobSpec, ReplicaSpec
from kfcore.api.meta import CEL, Model
from kfcore.api.validation import FieldError

CONTAINER, PORT = "pytorch", 23456
NO_INIT_CONTAINER = "kfcore/no-init-container"
"""An annotation of a job: "true" lets its workers start without the container that waits for the master."""
WORKER_0_IS_MASTER = "kfcore/worker-0-is-master"
"""An annotation of a job without a master: "true" tells all workers that the first one is it."""
Text = Annotated[str, Field(strict=True)]


class RdzvConf(Model):
    """One option of the rendezvous backend."""

    key: Text | None = None
    value: Text | None = None


class ElasticPolicy(Model):
    """How a job whose number of workers may change is run by torchrun."""

    min_replicas: Int32 | None = Field(None, description="The fewest workers; as many as there are by default.")
    max_replicas: Int32 | None = Field(None, description="The most workers; as many as there are by default.")
    rdzv_backend: Text | None = Field(None, description="The rendezvous backend; c10d by default.")
    rdzv_port: Int32 | None = Field(None, description="The rendezvous port; the workers' by default.")
    rdzv_host: Text | None = Field(None, description="The rendezvous host; worker 0 by default.")
    rdzv_id: Text | None = Field(None, description="The id of the rendezvous.")
    rdzv_conf: list[RdzvConf] | None = Field(None, description="Further options of the rendezvous.")
    standalone: Bool | None = Field(None, description="Whether a rendezvous of one node is started.")
    n_proc_per_node: Int32 | None = Field(None, description="Deprecated: use spec.nprocPerNode.")
    max_restarts: Int32 | None = Field(None, description="How often torchrun restarts its group of workers.")
    metrics: list[dict[str, Any]] | None = Field(
        None, description="autoscaling/v2 metrics to scale the workers by; without them there is no autoscaler."
    )


_RULES = (
    {
        "rule": "self.pytorchReplicaSpecs.all(name, !has(self.pytorchReplicaSpecs[name].replicas) || "
        "self.pytorchReplicaSpecs[name].replicas >= 1)",
        "message": "replicas must be at least 1",
    },
    {
        "rule": "self.pytorchReplicaSpecs.all(name, name.lowerAscii() != 'master' || "
        "!has(self.pytorchReplicaSpecs[name].replicas) || self.pytorchReplicaSpecs[name].replicas == 1)",
        "message": "there must be only one master replica",
    },
    {
        "rule": "!has(self.elasticPolicy) || self.pytorchReplicaSpecs.exists(name, name.lowerAscii() == 'worker')",
        "message": "workers are required where elasticPolicy is used",
    },
    {
        "rule": "!has(self.elasticPolicy) || !has(self.elasticPolicy.nProcPerNode) || !has(self.nprocPerNode)",
        "message": "elasticPolicy.nProcPerNode is deprecated, and not to be used with nprocPerNode",
    },
    {
        "rule": "!has(self.elasticPolicy) || !has(self.elasticPolicy.minReplicas) || "
        "!has(self.elasticPolicy.maxReplicas) || self.elasticPolicy.minReplicas <= self.elasticPolicy.maxReplicas",
        "message": "elasticPolicy.minReplicas must be at most maxReplicas",
    },
)


class PyTorchJobSpec(JobSpec):
    """A job of at most one master, and workers."""

    model_config = ConfigDict(json_schema_extra={CEL: [dict(rule) for rule in _RULES]})

    replica_specs: dict[Literal["Master", "Worker"], ReplicaSpec] = Field(
        alias="pytorchReplicaSpecs", description="The replicas by type: Master, Worker."
    )
    elastic_policy: ElasticPolicy | None = None
    nproc_per_node: Text | None = Field(
        None, description="Processes on each node: auto, cpu, gpu or a number, as text; auto by default."
    )


class PyTorchJob(Job[PyTorchJobSpec], group="kubeflow.org", version="v1", kind="PyTorchJob", scales="Worker"):
    """Distributed training with PyTorch."""

    container_name: ClassVar[str] = CONTAINER

    def rule_violations(self) -> Iterator[FieldError]:
        yield from super().rule_violations()
        yield from container_violations(self, CONTAINER)
        spec = self.spec
        for replica_type, replica in spec.replica_specs.items():
            path, replicas = f"spec.pytorchReplicaSpecs.{replica_type}.replicas", replica.replicas
            if replica_type == "Master" and replicas not in (None, 1):
                yield FieldError(path, f"expected 1, as there must be only one master, found {replicas}")
            elif replicas == 0:
                yield FieldError(path, "expected at least 1, found 0")
        if spec.elastic_policy is None:
            return
        if "Worker" not in spec.replica_specs:
            yield FieldError("spec.pytorchReplicaSpecs.Worker", "required where spec.elasticPolicy is used")
        if spec.elastic_policy.n_proc_per_node is not None and spec.nproc_per_node is not None:
            yield FieldError("spec.elasticPolicy.nProcPerNode", "deprecated, and not to be used with spec.nprocPerNode")
        least, most = spec.elastic_policy.min_replicas, spec.elastic_policy.max_replicas
        if least is not None and most is not None and least > most:
            yield FieldError("spec.elasticPolicy.minReplicas", f"expected at most maxReplicas, {most}, found {least}")
