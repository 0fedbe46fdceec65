"""A cluster at rest stays at rest."""

from __future__ import annotations

from workload_cluster import LABELS, TEMPLATE, a_cluster, workload

from kfcore_local.workloads.kinds import BatchJob, Deployment, Service, StatefulSet


async def test_nothing_is_sent_while_nothing_changes():
    async with a_cluster() as cluster:
        await cluster.create(Deployment, workload("Deployment", replicas=2))
        await cluster.create(StatefulSet, workload("StatefulSet", "db", replicas=1, serviceName="web"))
        spec = {"selector": LABELS, "ports": [{"port": 80}]}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}
        await cluster.create(Service, service)
        job = {"metadata": {"labels": {"job": "sum"}}, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
        await cluster.create(BatchJob, workload("Job", "sum", template=job))
        await cluster.play_kubelet(ip="127.0.0.5")
        [pod] = [pod.name for pod in await cluster.pods() if pod.name.startswith("sum-")]
        await cluster.end(pod, 0)
        before = len(cluster.client.requests)
        await cluster.clock.advance(3600)
        assert [request for request in cluster.client.requests[before:] if request[0] != "GET"] == []
