"""The HorizontalPodAutoscaler of an elastic job: there while the job runs and asks for metrics, gone otherwise."""

from __future__ import annotations

from kfcore.api.meta import Manifest, controller_of, owner_reference, untyped
from kfcore.api.resource import Resource
from kfcore.client.errors import AlreadyExists, NotFound
from kfcore.client.interface import Client, Preconditions, Reader
from kfcore_pytorch.api import PyTorchJob

Autoscaler = untyped(
    Resource("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", short_names=("hpa",))
)


DEFAULT_METRICS: list[Manifest] = [
    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
]
"""What an API server makes of an empty list."""


def autoscaler_spec(job: PyTorchJob) -> Manifest | None:
    """The autoscaler that the job asks for, if it does."""
    policy = job.spec.elastic_policy
    if policy is None or policy.metrics is None:
        return None
    return {
        "scaleTargetRef": {"apiVersion": job.resource.api_version, "kind": job.resource.kind, "name": job.name},
        "minReplicas": policy.min_replicas,
        "maxReplicas": policy.max_replicas,
        "metrics": policy.metrics or DEFAULT_METRICS,
    }


async def reconcile_autoscaler(client: Client, reader: Reader, job: PyTorchJob, *, wanted: bool) -> None:
    """Create, change or delete the job's autoscaler."""
    spec = autoscaler_spec(job) if wanted else None
    try:
        found = await reader.get(Autoscaler, job.name, job.namespace)
    except NotFound:
        if spec is not None:
            await _create(client, job, spec)
        return
    owner = controller_of(found)
    if owner is None or owner.uid != job.metadata.uid:
        return
    if spec is None:
        try:
            uid = Preconditions(uid=found.metadata.uid)
            await client.delete(Autoscaler, job.name, job.namespace, preconditions=uid)
        except NotFound:
            return
    elif any(found.raw.get("spec", {}).get(name) != value for name, value in spec.items()):
        await client.patch(Autoscaler, job.name, job.namespace, {"spec": spec})


async def _create(client: Client, job: PyTorchJob, spec: Manifest) -> None:
    metadata = {"name": job.name, "namespace": job.namespace, "ownerReferences": [owner_reference(job)]}
    try:
        await client.create(Autoscaler, {"metadata": metadata, "spec": spec}, job.namespace)
    except AlreadyExists:
        return  # the cache is late, or it is somebody else's: then it is not ours to change
