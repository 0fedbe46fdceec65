"""Deployments and ReplicaSets, as a user sees them roll out."""

from __future__ import annotations

from workload_cluster import LABELS, TEMPLATE, a_cluster, reasons, workload

from kfcore_local.workloads.kinds import Deployment, Pod, ReplicaSet
from kfcore_local.workloads.templates import short_hash

SECOND = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "two"}]}}}}


def images(pods: list[dict]) -> list[str]:
    return sorted(pod["spec"]["containers"][0]["image"] for pod in pods)


async def sizes(cluster) -> dict[str, int]:
    """Replica set sizes by revision."""
    revision = "deployment.kubernetes.io/revision"
    sets = await cluster.client.list(ReplicaSet, "default")
    return {item.metadata.annotations[revision]: item.spec.replicas for item in sets}


async def test_a_replica_set_makes_its_pods_and_counts_them():
    async with a_cluster() as cluster:
        await cluster.create(ReplicaSet, workload("ReplicaSet", replicas=3))
        assert len(await cluster.pods()) == 3
        await cluster.play_kubelet()
        status = (await cluster.get(ReplicaSet, "web"))["status"]
        assert (status["replicas"], status["readyReplicas"], status["availableReplicas"]) == (3, 3, 3)
        assert status["observedGeneration"] == 1


async def test_a_replica_set_adopts_a_matching_pod_and_lets_one_go_that_no_longer_matches():
    async with a_cluster() as cluster:
        bare = {"metadata": {"name": "bare", "labels": LABELS}, "spec": TEMPLATE["spec"]}
        await cluster.create(Pod, {"apiVersion": "v1", "kind": "Pod", **bare})
        await cluster.create(ReplicaSet, workload("ReplicaSet", replicas=2))
        assert len(await cluster.pods()) == 2
        assert (await cluster.client.get(Pod, "bare", "default")).metadata.owner_references[0].name == "web"
        await cluster.patch(Pod, "bare", {"metadata": {"labels": {"app": "other"}}})
        assert not (await cluster.client.get(Pod, "bare", "default")).metadata.owner_references
        assert len(await cluster.pods()) == 3


async def test_scaling_down_spares_the_ready_pods():
    async with a_cluster() as cluster:
        await cluster.create(ReplicaSet, workload("ReplicaSet", replicas=3))
        survivor = (await cluster.pods())[1].name
        await cluster.play_kubelet(survivor)
        await cluster.patch(ReplicaSet, "web", {"spec": {"replicas": 1}})
        assert await cluster.names(Pod) == [survivor]


async def test_a_deployment_becomes_available_and_says_so():
    async with a_cluster() as cluster:
        await cluster.create(Deployment, workload("Deployment", replicas=2))
        [replica_set] = await cluster.client.list(ReplicaSet, "default")
        hash_ = short_hash((await cluster.get(Deployment, "web"))["spec"]["template"])
        assert replica_set.name == f"web-{hash_}"
        assert replica_set.metadata.labels == {**LABELS, "pod-template-hash": hash_}
        assert all(pod.name.startswith(f"{replica_set.name}-") for pod in await cluster.pods())
        found = await cluster.get(Deployment, "web")
        assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
        assert reasons(found["status"]["conditions"])["Available"] == ("False", "MinimumReplicasUnavailable")
        assert found["status"]["unavailableReplicas"] == 2
        await cluster.play_kubelet()
        status = (await cluster.get(Deployment, "web"))["status"]
        assert reasons(status["conditions"]) == {
            "Available": ("True", "MinimumReplicasAvailable"),
            "Progressing": ("True", "NewReplicaSetAvailable"),
        }
        counts = {key: value for key, value in status.items() if key != "conditions"}
        assert counts == {
            "observedGeneration": 1,
            "replicas": 2,
            "updatedReplicas": 2,
            "readyReplicas": 2,
            "availableReplicas": 2,
            "terminatingReplicas": 0,
        }
        assert await cluster.events("Deployment") == [
            ("ScalingReplicaSet", f"Scaled up replica set {replica_set.name} from 0 to 2")
        ]


async def test_a_steady_deployment_writes_nothing():
    async with a_cluster() as cluster:
        await cluster.create(Deployment, workload("Deployment", replicas=2))
        await cluster.play_kubelet()
        assert await cluster.writes_of("replicaset", *await cluster.names(ReplicaSet)) == []
        assert await cluster.writes_of("deployment", "web") == []


async def test_a_rolling_update_keeps_within_surge_and_unavailable():
    async with a_cluster() as cluster:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        await cluster.create(Deployment, workload("Deployment", replicas=3, strategy=strategy))
        await cluster.play_kubelet()
        await cluster.patch(Deployment, "web", SECOND)
        assert await sizes(cluster) == {"1": 3, "2": 1}
        for expected in ({"1": 2, "2": 2}, {"1": 1, "2": 3}, {"1": 0, "2": 3}):
            await cluster.play_kubelet()
            assert await sizes(cluster) == expected
        found = await cluster.get(Deployment, "web")
        assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
        assert reasons(found["status"]["conditions"])["Progressing"] == ("True", "NewReplicaSetAvailable")


async def test_a_rollback_makes_the_old_replica_set_the_newest_revision():
    async with a_cluster() as cluster:
        await cluster.create(Deployment, workload("Deployment", replicas=1))
        await cluster.play_kubelet()
        await cluster.patch(Deployment, "web", SECOND)
        await cluster.play_kubelet()
        assert await sizes(cluster) == {"1": 0, "2": 1}
        await cluster.patch(Deployment, "web", {"spec": {"template": {"spec": TEMPLATE["spec"]}}})
        await cluster.play_kubelet()
        assert await sizes(cluster) == {"2": 0, "3": 1}


async def test_recreate_waits_until_the_old_pods_are_gone():
    async with a_cluster() as cluster:
        await cluster.create(Deployment, workload("Deployment", replicas=1, strategy={"type": "Recreate"}))
        [old] = await cluster.pods()
        await cluster.patch(Pod, old.name, {"metadata": {"finalizers": ["example.com/hold"]}})
        await cluster.play_kubelet()
        await cluster.patch(Deployment, "web", SECOND)
        assert await cluster.names(Pod) == [old.name]
        await cluster.patch(Pod, old.name, {"metadata": {"finalizers": None}})
        [new] = await cluster.pods()
        assert new.name != old.name


async def test_a_paused_deployment_scales_but_does_not_roll():
    async with a_cluster() as cluster:
        await cluster.create(Deployment, workload("Deployment", replicas=1))
        await cluster.play_kubelet()
        await cluster.patch(Deployment, "web", {"spec": {"paused": True, **SECOND["spec"], "replicas": 2}})
        assert await sizes(cluster) == {"1": 2}
        status = (await cluster.get(Deployment, "web"))["status"]
        assert reasons(status["conditions"])["Progressing"] == ("Unknown", "DeploymentPaused")
        await cluster.patch(Deployment, "web", {"spec": {"paused": False}})
        assert (await sizes(cluster))["2"] == 1


async def test_a_stuck_rollout_is_told_to_have_timed_out():
    async with a_cluster() as cluster:
        await cluster.create(Deployment, workload("Deployment", replicas=1, progressDeadlineSeconds=60))
        await cluster.clock.advance(90)
        status = (await cluster.get(Deployment, "web"))["status"]
        assert reasons(status["conditions"])["Progressing"] == ("False", "ProgressDeadlineExceeded")


async def test_revisions_beyond_the_limit_are_forgotten():
    async with a_cluster() as cluster:
        await cluster.create(Deployment, workload("Deployment", replicas=1, revisionHistoryLimit=1))
        for image in ("two", "three", "four"):
            await cluster.play_kubelet()
            template = {"spec": {"containers": [{"name": "c", "image": image}]}}
            await cluster.patch(Deployment, "web", {"spec": {"template": template}})
        await cluster.play_kubelet()
        assert await sizes(cluster) == {"3": 0, "4": 1}


async def test_a_revision_that_somebody_has_made_no_number_of_counts_as_none():
    async with a_cluster() as cluster:
        await cluster.create(Deployment, workload("Deployment", replicas=1))
        [name] = await cluster.names(ReplicaSet)
        spoilt = {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "²"}}}
        await cluster.patch(ReplicaSet, name, spoilt)
        assert await sizes(cluster) == {"1": 1}


async def test_deleting_a_deployment_takes_everything_with_it():
    async with a_cluster() as cluster:
        await cluster.create(Deployment, workload("Deployment", replicas=2))
        await cluster.client.delete(Deployment, "web", "default")
        await cluster.settle()
        assert await cluster.names(ReplicaSet) == await cluster.names(Pod) == []


def test_the_hash_is_the_one_that_kubernetes_forms():
    spec = {
        "containers": [
            {
                "name": "c",
                "image": "b",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "Always",
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }
    template = {"metadata": {"labels": {"app": "nb"}}, "spec": spec, "$patch": "replace"}
    assert short_hash({"spec": {"template": template}}, "0") == "c5dc474d"


async def test_a_ready_pod_is_available_only_after_min_ready_seconds():
    async with a_cluster() as cluster:
        await cluster.create(Deployment, workload("Deployment", replicas=1, minReadySeconds=20))
        await cluster.play_kubelet()
        assert "availableReplicas" not in (await cluster.get(Deployment, "web"))["status"]
        await cluster.clock.advance(21)
        assert (await cluster.get(Deployment, "web"))["status"]["availableReplicas"] == 1


async def test_scaling_in_the_middle_of_a_rollout_keeps_the_shares():
    async with a_cluster() as cluster:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}
        await cluster.create(Deployment, workload("Deployment", replicas=6, strategy=strategy))
        await cluster.play_kubelet()
        await cluster.patch(Deployment, "web", SECOND)
        assert await sizes(cluster) == {"1": 6, "2": 2}
        await cluster.patch(Deployment, "web", {"spec": {"replicas": 14}})
        assert await sizes(cluster) == {"1": 12, "2": 4}


async def test_pods_that_the_server_refuses_are_told_in_event_and_condition_and_tried_again():
    async with a_cluster() as cluster:
        with cluster.no_pods():
            await cluster.create(Deployment, workload("Deployment", replicas=1))
            [replica_set] = await cluster.names(ReplicaSet)
            status = (await cluster.get(ReplicaSet, replica_set))["status"]
            assert reasons(status["conditions"]) == {"ReplicaFailure": ("True", "FailedCreate")}
            status = (await cluster.get(Deployment, "web"))["status"]
            assert reasons(status["conditions"])["ReplicaFailure"] == ("True", "FailedCreate")
            assert await cluster.events("ReplicaSet") == [("FailedCreate", "Error creating: exceeded quota")]
        await cluster.clock.advance(20)
        await cluster.play_kubelet()
        status = (await cluster.get(Deployment, "web"))["status"]
        assert "ReplicaFailure" not in reasons(status["conditions"])
        assert status["availableReplicas"] == 1
