"""What tells each replica where its peers are: its environment."""

from __future__ import annotations

from collections.abc import Iterator

from kfcore_pytorch.api import WORKER_0_IS_MASTER, PyTorchJob


def total_replicas(job: PyTorchJob) -> int:
    return sum(1 if spec.replicas is None else spec.replicas for spec in job.spec.replica_specs.values())


def processes_per_node(job: PyTorchJob) -> int:
    """How many processes WORLD_SIZE counts on each node; 1 for `auto`, which torchrun resolves by itself."""
    text = job.spec.nproc_per_node or ""
    return int(text) if text.isascii() and text.removeprefix("-").isdigit() else 1


def environment(job: PyTorchJob, ports: dict[str, int], replica_type: str, index: int) -> Iterator[tuple[str, str]]:
    """One replica's variables, in order. `ports` maps replica type to its port."""
    yield "PYTHONUNBUFFERED", "1"
    if master := _master(job):
        port, address = str(ports[master]), f"{job.name}-{master.lower()}-0"
        rank = str(index if replica_type == master or master == "Worker" else index + 1)
        yield "MASTER_PORT", port
        yield "PET_MASTER_PORT", port
        yield "MASTER_ADDR", address
        yield "PET_MASTER_ADDR", address
        yield "WORLD_SIZE", str(total_replicas(job) * processes_per_node(job))
        yield "RANK", rank
        yield "PET_NODE_RANK", rank
    if job.spec.nproc_per_node is not None:
        yield "PET_NPROC_PER_NODE", job.spec.nproc_per_node
    if job.spec.elastic_policy is None:
        yield "PET_NNODES", str(total_replicas(job))
    else:
        yield from _elastic(job, ports["Worker"])


def _master(job: PyTorchJob) -> str | None:
    """The type whose replica 0 the others meet at; None where nobody tells them of it."""
    if "Master" in job.spec.replica_specs:
        return "Master"
    asked = job.metadata.annotations.get(WORKER_0_IS_MASTER) == "true"
    return "Worker" if asked and job.spec.elastic_policy is None else None


def _elastic(job: PyTorchJob, worker_port: int) -> Iterator[tuple[str, str]]:
    policy = job.spec.elastic_policy
    if policy is None:
        return
    host, port = policy.rdzv_host or f"{job.name}-worker-0", policy.rdzv_port or worker_port
    yield "PET_RDZV_ENDPOINT", f"{host}:{port}"
    yield "PET_RDZV_BACKEND", policy.rdzv_backend or "c10d"
    yield "PET_NNODES", f"{policy.min_replicas}:{policy.max_replicas}"
    if policy.max_restarts is not None:
        yield "PET_MAX_RESTARTS", str(policy.max_restarts)
    if policy.n_proc_per_node is not None:
        yield "PET_NPROC_PER_NODE", str(policy.n_proc_per_node)
    if policy.rdzv_id is not None:
        yield "PET_RDZV_ID", policy.rdzv_id
    if policy.rdzv_conf:
        yield "PET_RDZV_CONF", ",".join(f"{option.key or ''}={option.value or ''}" for option in policy.rdzv_conf)
    if policy.standalone:
        yield "PET_STANDALONE", ""
