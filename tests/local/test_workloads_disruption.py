"""What a PodDisruptionBudget says of its pods, and what evictions make of it."""

from __future__ import annotations

from typing import Any

import pytest
from workload_cluster import LABELS, Cluster, a_cluster, workload

from kfcore.api.meta import Manifest
from kfcore.client.errors import TooManyRequests
from kfcore_local.workloads.kinds import BatchJob, Deployment, Pod, PodDisruptionBudget


def a_budget(**spec: Any) -> Manifest:
    metadata = {"name": "b", "namespace": "default"}
    return {"metadata": metadata, "spec": {"selector": {"matchLabels": LABELS}, **spec}}


async def counts(cluster: Cluster) -> tuple[int, int, int, int]:
    """Pods that are expected, that are healthy, that have to be, and that may go."""
    status = (await cluster.get(PodDisruptionBudget, "b"))["status"]
    fields = ("expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed")
    return tuple(status[field] for field in fields)  # type: ignore[return-value]


async def condition(cluster: Cluster) -> tuple[str, str]:
    (found,) = (await cluster.get(PodDisruptionBudget, "b"))["status"]["conditions"]
    return found["status"], found["reason"]


async def evict(cluster: Cluster, name: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    await cluster.client.subresource("POST", Pod, name, "default", "eviction", body=body)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 3}, (4, 4, 3, 1)),
        ({"minAvailable": 5}, (4, 4, 5, 0)),
        ({"minAvailable": "30%"}, (4, 4, 2, 2)),
        ({"maxUnavailable": 1}, (4, 4, 3, 1)),
        ({"maxUnavailable": "30%"}, (4, 4, 2, 2)),
        ({}, (4, 4, 0, 4)),
    ],
)
async def test_a_budget_tells_how_many_pods_may_go(spec: Manifest, expected: tuple[int, ...]) -> None:
    async with a_cluster() as cluster:
        await cluster.create(Deployment, workload("Deployment", replicas=4))
        await cluster.create(PodDisruptionBudget, a_budget(**spec))
        assert (await counts(cluster))[1] == 0
        assert await condition(cluster) == ("False", "InsufficientPods")
        await cluster.play_kubelet()
        assert await counts(cluster) == expected
        allowed = ("True", "SufficientPods") if expected[-1] else ("False", "InsufficientPods")
        assert await condition(cluster) == allowed


async def test_a_budget_follows_its_pods_and_who_wants_them() -> None:
    async with a_cluster() as cluster:
        await cluster.create(Deployment, workload("Deployment", replicas=2))
        await cluster.create(PodDisruptionBudget, a_budget(maxUnavailable=1))
        await cluster.play_kubelet()
        assert await counts(cluster) == (2, 2, 1, 1)
        await cluster.patch(Deployment, "web", {"spec": {"replicas": 3}})
        assert await counts(cluster) == (3, 2, 2, 0)
        await cluster.play_kubelet()
        assert await counts(cluster) == (3, 3, 2, 1)


async def test_pods_are_evicted_as_long_as_the_budget_allows_it() -> None:
    async with a_cluster() as cluster:
        await cluster.create(Deployment, workload("Deployment", replicas=3))
        await cluster.create(PodDisruptionBudget, a_budget(minAvailable=2))
        await cluster.play_kubelet()
        first, second, _ = [pod.name for pod in await cluster.pods()]
        await evict(cluster, first)  # and at once, before anybody has counted anew:
        with pytest.raises(TooManyRequests, match="would violate the pod's disruption budget"):
            await evict(cluster, second)
        await cluster.settle()
        assert await counts(cluster) == (3, 2, 2, 0)
        await cluster.play_kubelet()
        assert await counts(cluster) == (3, 3, 2, 1)
        assert "disruptedPods" not in (await cluster.get(PodDisruptionBudget, "b"))["status"]
        await evict(cluster, second)


async def test_what_nobody_known_controls_cannot_be_counted() -> None:
    async with a_cluster() as cluster:
        job = workload("Job", parallelism=2, completions=2)
        job["spec"]["template"] = {
            "metadata": {"labels": LABELS},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "one"}]},
        }
        await cluster.create(BatchJob, job)
        await cluster.create(PodDisruptionBudget, a_budget(maxUnavailable=1))
        await cluster.play_kubelet()
        assert (await counts(cluster))[-1] == 0
        assert await condition(cluster) == ("False", "SyncFailed")
