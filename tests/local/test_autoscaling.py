"""HorizontalPodAutoscalers: how many pods they ask for, how fast, and what they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from patience import eventually

from kfcore.api.core import Event, Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.api.resource import Resource
from kfcore.controller.manager import Manager
from kfcore.testing import FakeClient, FakeClock
from kfcore_local.autoscaling import add_autoscaler
from kfcore_local.autoscaling.kinds import Autoscaler
from kfcore_local.cluster import LocalCluster
from kfcore_local.usage import Owner, Usage
from kfcore_local.workloads.kinds import Deployment, StatefulSet

POD, HPA = untyped(Pod.resource), untyped(Autoscaler.resource)
POD_METRICS = untyped(Resource("metrics.k8s.io", "v1beta1", "PodMetrics", "pods"))
LABELS = {"app": "web"}
CONTAINER = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "500m", "memory": "100Mi"}}}


def an_autoscaler(metric: Manifest | None = None, kind: str = "Deployment", **spec: Any) -> Manifest:
    target = {"type": "Utilization", "averageUtilization": 50}
    cpu = metric or {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    api_version = "kubeflow.org/v1" if kind.endswith("Job") else "apps/v1"
    reference = {"apiVersion": api_version, "kind": kind, "name": "web"}
    asked = {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 10, "metrics": [cpu], **spec}
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": asked}


class Cluster:
    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.clock = FakeClock()
        self.client = FakeClient(clock=self.clock)
        self.manager = Manager(self.client, clock=self.clock)
        self.usage: dict[Owner, Usage] = {}
        add_autoscaler(self.manager, lambda: self.usage)

    async def start(self, replicas: int) -> None:
        template = {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER]}}
        spec = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}
        await self.client.create(untyped(self.kind.resource), {"metadata": {"name": "web"}, "spec": spec}, "default")
        await self.run_pods(replicas)

    async def run_pods(self, count: int, ready: bool = True) -> None:
        """Have so many pods, as the controller and kubelet would."""
        present = {pod.name for pod in await self.client.list(POD, "default")}
        for name in [f"web-{number}" for number in range(count)]:
            if name not in present:
                body = {"metadata": {"name": name, "labels": LABELS}, "spec": {"containers": [CONTAINER]}}
                await self.client.create(POD, body, "default")
                conditions = [{"type": "Ready", "status": str(ready)}]
                status = {"status": {"phase": "Running", "conditions": conditions}}
                await self.client.patch(POD, name, "default", status, subresource="status")
        for name in present - {f"web-{number}" for number in range(count)}:
            await self.client.delete(POD, name, "default", grace_period_seconds=0)

    async def use(self, cores: float, memory: int = 0) -> None:
        """Have every pod use as much."""
        pods = await self.client.list(POD, "default")
        self.usage = {(pod.metadata.uid, "c"): Usage(cores, memory) for pod in pods}

    async def look(self, seconds: float = 15) -> int:
        """The target's size after the next look."""
        await self.clock.advance(seconds)
        for _ in range(3):
            await self.clock.advance(0)
        size: int = (await self.client.get(untyped(self.kind.resource), "web", "default")).raw["spec"]["replicas"]
        return size

    async def status(self) -> Manifest:
        status: Manifest = (await self.client.get(HPA, "web", "default")).raw["status"]
        return status

    async def condition(self, type_: str) -> tuple[str, str]:
        [found] = [item for item in (await self.status())["conditions"] if item["type"] == type_]
        return found["status"], found["reason"]

    async def events(self) -> list[tuple[str, str]]:
        await self.manager.recorder("horizontal-pod-autoscaler").flush()
        return [(event.reason, event.message) for event in await self.client.list(Event, "default")]


@asynccontextmanager
async def scaled(autoscaler: Manifest, *, replicas: int = 2, kind: Any = Deployment) -> AsyncIterator[Cluster]:
    cluster = Cluster(kind)
    await cluster.start(replicas)
    task = asyncio.create_task(cluster.manager.run())
    try:
        for _ in range(3):
            await cluster.clock.advance(0)
        await cluster.client.create(HPA, autoscaler)
        await cluster.look(0)
        yield cluster
    finally:
        cluster.manager.stop()
        await cluster.clock.advance(0)
        await task


@pytest.mark.parametrize("kind", [Deployment, StatefulSet])
async def test_pods_that_use_twice_what_they_should_become_twice_as_many(kind: Any) -> None:
    async with scaled(an_autoscaler(kind=kind.__name__), kind=kind) as cluster:
        await cluster.use(0.5)
        assert await cluster.look() == 4
        status = await cluster.status()
        assert (status["currentReplicas"], status["desiredReplicas"]) == (2, 4)
        current = status["currentMetrics"][0]["resource"]["current"]
        assert current == {"averageUtilization": 100, "averageValue": "500m"}
        reason = "New size: 4; reason: cpu resource utilization (percentage of request) above target"
        assert ("SuccessfulRescale", reason) in await cluster.events()
        assert await cluster.condition("ScalingActive") == ("True", "ValidMetricFound")


async def test_within_a_tenth_of_the_target_nothing_changes() -> None:
    async with scaled(an_autoscaler()) as cluster:
        await cluster.use(0.274)
        assert await cluster.look() == 2
        assert await cluster.condition("AbleToScale") == ("True", "ReadyForNewScale")


async def test_an_average_value_needs_no_request() -> None:
    target = {"type": "AverageValue", "averageValue": "100m"}
    async with scaled(an_autoscaler({"type": "Resource", "resource": {"name": "cpu", "target": target}})) as cluster:
        await cluster.use(0.3)
        assert await cluster.look() == 6
        assert ("SuccessfulRescale", "New size: 6; reason: cpu resource above target") in await cluster.events()


async def test_memory_counts_too() -> None:
    target = {"type": "AverageValue", "averageValue": "10Mi"}
    metric = {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c", "target": target}}
    async with scaled(an_autoscaler(metric)) as cluster:
        await cluster.use(0, memory=20 << 20)
        assert await cluster.look() == 4


async def test_there_are_never_more_than_the_most() -> None:
    async with scaled(an_autoscaler(maxReplicas=3)) as cluster:
        await cluster.use(2)
        assert await cluster.look() == 3
        assert await cluster.condition("ScalingLimited") == ("True", "TooManyReplicas")


async def test_fewer_than_the_least_become_the_least_whatever_they_use() -> None:
    async with scaled(an_autoscaler(minReplicas=4)) as cluster:
        assert await cluster.look() == 4


async def test_pods_go_only_when_for_five_minutes_fewer_were_enough() -> None:
    async with scaled(an_autoscaler(), replicas=4) as cluster:
        await cluster.use(0.25)
        assert await cluster.look() == 4
        await cluster.use(0.01)
        assert await cluster.look() == 4
        assert await cluster.condition("AbleToScale") == ("True", "ScaleDownStabilized")
        for _ in range(18):
            assert await cluster.look() == 4
        for _ in range(3):
            size = await cluster.look()
        assert size == 1


async def test_a_behaviour_says_how_fast_and_over_which_window() -> None:
    one_a_minute = {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}], "stabilizationWindowSeconds": 30}
    behavior = {"scaleUp": one_a_minute, "scaleDown": {"selectPolicy": "Disabled"}}
    async with scaled(an_autoscaler(behavior=behavior)) as cluster:
        await cluster.use(0.25)
        assert await cluster.look() == 2
        await cluster.use(1)
        assert await cluster.look() == 2, "the window still holds what was enough"
        assert await cluster.look() == 3
        assert await cluster.condition("ScalingLimited") == ("True", "ScaleUpLimit")
        await cluster.run_pods(3)
        await cluster.use(1)
        assert await cluster.look() == 3
        assert await cluster.look(60) == 4
        await cluster.run_pods(4)
        await cluster.use(0.0)
        assert await cluster.look(900) == 4


async def test_a_pod_that_starts_does_not_make_more_of_them() -> None:
    async with scaled(an_autoscaler(), replicas=2) as cluster:
        await cluster.run_pods(3, ready=False)
        await cluster.client.patch(untyped(Deployment.resource), "web", "default", {"spec": {"replicas": 3}})
        await cluster.use(0.375)
        assert await cluster.look() == 3, "150 % of two, 100 % with the third, which is assumed to use nothing"


async def test_without_a_measurement_or_a_request_nothing_changes_and_the_reason_is_told() -> None:
    async with scaled(an_autoscaler()) as cluster:
        assert await cluster.look() == 2
        assert await cluster.condition("ScalingActive") == ("False", "FailedGetResourceMetric")
    target = {"type": "AverageValue", "averageValue": "1"}
    gpu = {"type": "Resource", "resource": {"name": "nvidia.com/gpu", "target": target}}
    async with scaled(an_autoscaler(gpu)) as cluster:
        await cluster.look()
        assert "the use of nvidia.com/gpu is not measured" in (await cluster.events())[0][1]
    external = {"type": "External", "external": {"metric": {"name": "queue"}, "target": target}}
    async with scaled(an_autoscaler(external)) as cluster:
        await cluster.look()
        assert await cluster.condition("ScalingActive") == ("False", "FailedGetExternalMetric")


async def test_a_target_that_is_not_there_is_told() -> None:
    autoscaler = an_autoscaler()
    autoscaler["spec"]["scaleTargetRef"]["name"] = "nobody"
    async with scaled(autoscaler) as cluster:
        await cluster.look()
        assert await cluster.condition("AbleToScale") == ("False", "FailedGetScale")
    async with scaled(an_autoscaler(kind="Rocket")) as cluster:
        await cluster.look()
        assert 'no matches for kind "Rocket"' in (await cluster.status())["conditions"][0]["message"]


async def test_a_target_of_zero_is_left_at_that() -> None:
    async with scaled(an_autoscaler(), replicas=0) as cluster:
        assert await cluster.look() == 0
        assert await cluster.condition("ScalingActive") == ("False", "ScalingDisabled")


# ── on a machine ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_a_deployment_whose_processes_are_busy_gets_more_pods_and_kubectl_top_shows_why() -> None:
    busy = {"name": "c", "image": "any", "command": ["sh", "-c", "while :; do :; done"]}
    container = {**busy, "resources": {"requests": {"cpu": "50m"}}}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 0}
    template = {"metadata": {"labels": LABELS}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": LABELS}, "template": template}
    deployments = untyped(Deployment.resource)
    async with LocalCluster(without=["operator"]) as cluster:
        await cluster.client.create(deployments, {"metadata": {"name": "web"}, "spec": spec}, "default")
        await cluster.client.create(HPA, an_autoscaler(maxReplicas=3), "default")

        async def is_as_large() -> bool:
            status = (await cluster.client.get(deployments, "web", "default")).raw["status"]
            return status.get("readyReplicas") == 3 and len(await cluster.client.list(POD_METRICS, "default")) == 3

        await eventually(is_as_large)
        measured = await cluster.client.list(POD_METRICS, "default")
        assert all(pod.raw["containers"][0]["usage"]["cpu"].endswith("n") for pod in measured)
