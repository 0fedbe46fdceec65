"""DaemonSets: which nodes get a pod, and how it is replaced."""

from __future__ import annotations

from typing import Any

from workload_cluster import Cluster, a_cluster, workload

from kfcore.api.meta import Manifest, untyped
from kfcore_local.node import Node
from kfcore_local.workloads.kinds import ControllerRevision, DaemonSet, Pod

NODE = untyped(Node.resource)


async def add_node(cluster: Cluster, name: str, **spec: Any) -> None:
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    await cluster.client.create(NODE, {"metadata": {"name": name}, "spec": spec, "status": status})
    await cluster.settle()


async def bind(cluster: Cluster) -> list[str]:
    """Play the scheduler: every pod goes to the one node that it may go to. The nodes that have one."""
    for pod in await cluster.pods():
        if not pod.spec.node_name:
            [term] = pod.spec.affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
                "nodeSelectorTerms"
            ]
            [node] = term["matchFields"][0]["values"]
            body = {"metadata": {"name": pod.name}, "target": {"name": node}}
            await cluster.client.subresource("POST", Pod, pod.name, "default", "binding", body=body)
    await cluster.settle()
    return sorted(pod.spec.node_name for pod in await cluster.pods())


async def status(cluster: Cluster) -> Manifest:
    found: Manifest = (await cluster.get(DaemonSet, "web"))["status"]
    return found


async def test_every_node_that_takes_it_gets_one_also_those_that_come_later() -> None:
    async with a_cluster() as cluster:
        await add_node(cluster, "first")
        await add_node(cluster, "tainted", taints=[{"key": "team", "effect": "NoSchedule"}])
        await add_node(cluster, "cordoned", unschedulable=True)
        await cluster.create(DaemonSet, workload("DaemonSet"))
        assert await bind(cluster) == ["cordoned", "first"]
        await add_node(cluster, "late")
        assert await bind(cluster) == ["cordoned", "first", "late"]
        await cluster.play_kubelet()
        counts = await status(cluster)
        assert (counts["desiredNumberScheduled"], counts["currentNumberScheduled"], counts["numberReady"]) == (3, 3, 3)


async def test_a_node_that_does_not_take_it_any_more_loses_its_pod() -> None:
    async with a_cluster() as cluster:
        await add_node(cluster, "first")
        await cluster.create(DaemonSet, workload("DaemonSet"))
        await bind(cluster)
        await cluster.client.patch(NODE, "first", None, {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}})
        await cluster.settle()
        await cluster.finish_deletions()
        assert await cluster.pods() == []
        assert (await status(cluster))["desiredNumberScheduled"] == 0


async def test_a_pod_that_is_gone_or_failed_is_replaced() -> None:
    async with a_cluster() as cluster:
        await add_node(cluster, "first")
        await cluster.create(DaemonSet, workload("DaemonSet"))
        await bind(cluster)
        [before] = await cluster.pods()
        await cluster.end(before.name, 1)
        await cluster.finish_deletions()
        await bind(cluster)
        [after] = await cluster.pods()
        assert after.name != before.name


async def test_a_new_template_replaces_one_pod_after_the_other() -> None:
    async with a_cluster() as cluster:
        for name in ("first", "second"):
            await add_node(cluster, name)
        await cluster.create(DaemonSet, workload("DaemonSet"))
        await bind(cluster)
        await cluster.play_kubelet()
        template = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "two"}]}}}}
        await cluster.patch(DaemonSet, "web", template)
        assert sum(pod.metadata.deletion_timestamp is not None for pod in await cluster.pods()) == 1
        for _ in range(2):
            await cluster.finish_deletions()
            await bind(cluster)
            await cluster.play_kubelet()
        counts = await status(cluster)
        assert (counts["updatedNumberScheduled"], counts["numberAvailable"]) == (2, 2)
        assert len(await cluster.names(ControllerRevision)) == 2
