"""StatefulSets: names, order, claims and partitioned updates."""

from __future__ import annotations

from workload_cluster import TEMPLATE, a_cluster, workload

from kfcore_local.workloads.kinds import ControllerRevision, PersistentVolumeClaim, Pod, StatefulSet

SECOND = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "two"}]}}}}
CLAIM = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


async def images(cluster) -> dict[str, str]:
    pods = [await cluster.get(Pod, name) for name in await cluster.names(Pod)]
    return {pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in pods}


async def test_pods_come_one_by_one_each_when_the_one_before_is_ready():
    async with a_cluster() as cluster:
        await cluster.create(StatefulSet, workload("StatefulSet", replicas=3, serviceName="web"))
        assert await cluster.names(Pod) == ["web-0"]
        await cluster.play_kubelet(ready=False)
        assert await cluster.names(Pod) == ["web-0"]
        await cluster.play_kubelet("web-0")
        await cluster.play_kubelet("web-1")
        assert await cluster.names(Pod) == ["web-0", "web-1", "web-2"]


async def test_a_pod_carries_its_place_in_labels_host_name_and_subdomain():
    async with a_cluster() as cluster:
        await cluster.create(StatefulSet, workload("StatefulSet", replicas=1, serviceName="peers"))
        pod = await cluster.get(Pod, "web-0")
        [revision] = await cluster.names(ControllerRevision)
        assert pod["metadata"]["labels"] == {
            "app": "web",
            "apps.kubernetes.io/pod-index": "0",
            "controller-revision-hash": revision,
            "statefulset.kubernetes.io/pod-name": "web-0",
        }
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("web-0", "peers")
        status = (await cluster.get(StatefulSet, "web"))["status"]
        assert status == {
            "observedGeneration": 1,
            "replicas": 1,
            "currentReplicas": 1,
            "updatedReplicas": 1,
            "currentRevision": revision,
            "updateRevision": revision,
            "collisionCount": 0,
            "availableReplicas": 0,
        }
        assert await cluster.events("StatefulSet") == [
            ("SuccessfulCreate", "create Pod web-0 in StatefulSet web successful")
        ]


async def test_parallel_pods_come_and_go_at_once():
    async with a_cluster() as cluster:
        await cluster.create(StatefulSet, workload("StatefulSet", replicas=3, podManagementPolicy="Parallel"))
        assert len(await cluster.pods()) == 3
        await cluster.patch(StatefulSet, "web", {"spec": {"replicas": 1}})
        assert await cluster.names(Pod) == ["web-0"]


async def test_scaling_down_takes_the_highest_ordinals_and_keeps_the_claims():
    async with a_cluster() as cluster:
        await cluster.create(StatefulSet, workload("StatefulSet", replicas=2, volumeClaimTemplates=[CLAIM]))
        await cluster.play_kubelet()
        await cluster.play_kubelet()
        assert await cluster.names(PersistentVolumeClaim) == ["data-web-0", "data-web-1"]
        volumes = (await cluster.get(Pod, "web-1"))["spec"]["volumes"]
        assert {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-1"}} in volumes
        await cluster.patch(StatefulSet, "web", {"spec": {"replicas": 1}})
        assert await cluster.names(Pod) == ["web-0"]
        assert await cluster.names(PersistentVolumeClaim) == ["data-web-0", "data-web-1"]


async def test_an_update_goes_from_the_last_pod_down_to_the_partition():
    async with a_cluster() as cluster:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
        await cluster.create(StatefulSet, workload("StatefulSet", replicas=3, updateStrategy=strategy))
        for _ in range(3):
            await cluster.play_kubelet()
        await cluster.patch(StatefulSet, "web", SECOND)
        assert await images(cluster) == {"web-0": "one", "web-1": "one", "web-2": "two"}
        await cluster.play_kubelet()
        await cluster.play_kubelet()
        assert await images(cluster) == {"web-0": "one", "web-1": "two", "web-2": "two"}
        status = (await cluster.get(StatefulSet, "web"))["status"]
        assert (status["currentReplicas"], status["updatedReplicas"]) == (1, 2)
        assert status["currentRevision"] != status["updateRevision"]
        await cluster.patch(StatefulSet, "web", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})
        await cluster.play_kubelet()
        status = (await cluster.get(StatefulSet, "web"))["status"]
        assert status["currentRevision"] == status["updateRevision"]
        assert status["currentReplicas"] == status["readyReplicas"] == 3


async def test_a_failed_pod_is_made_again_under_its_name():
    async with a_cluster() as cluster:
        await cluster.create(StatefulSet, workload("StatefulSet", replicas=1))
        first = (await cluster.pods())[0].metadata.uid
        await cluster.end("web-0", 1)
        [pod] = await cluster.pods()
        assert (pod.name, pod.metadata.uid != first) == ("web-0", True)


async def test_a_steady_stateful_set_writes_nothing():
    async with a_cluster() as cluster:
        await cluster.create(StatefulSet, workload("StatefulSet", replicas=1))
        await cluster.play_kubelet()
        assert await cluster.writes_of("statefulset", "web") == []


async def test_an_update_waits_until_the_old_pod_is_really_gone():
    async with a_cluster() as cluster:
        template = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "nodeName": "node"}}
        await cluster.create(StatefulSet, workload("StatefulSet", replicas=2, template=template))
        for _ in range(2):
            await cluster.play_kubelet()
        await cluster.patch(StatefulSet, "web", SECOND)
        assert await images(cluster) == {"web-0": "one", "web-1": "one"}
        await cluster.finish_deletions()
        assert await images(cluster) == {"web-0": "one", "web-1": "two"}
        await cluster.play_kubelet()
        await cluster.finish_deletions()
        assert await images(cluster) == {"web-0": "two", "web-1": "two"}


async def test_claims_go_with_their_pod_where_the_set_says_so():
    async with a_cluster() as cluster:
        policy = {"whenScaled": "Delete", "whenDeleted": "Delete"}
        claims = {"volumeClaimTemplates": [CLAIM], "persistentVolumeClaimRetentionPolicy": policy}
        manifest = workload("StatefulSet", replicas=2, podManagementPolicy="Parallel", **claims)
        await cluster.create(StatefulSet, manifest)
        await cluster.patch(StatefulSet, "web", {"spec": {"replicas": 1}})
        assert await cluster.names(PersistentVolumeClaim) == ["data-web-0"]
        await cluster.client.delete(StatefulSet, "web", "default")
        await cluster.settle()
        assert await cluster.names(PersistentVolumeClaim) == []
