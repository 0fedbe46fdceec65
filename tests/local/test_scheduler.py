"""Which pods the scheduler binds, what it says of the others, and what the node offers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kfcore.api.core import Event, Lease, Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.client.interface import PatchType
from kfcore.jobs.gang import GangScheduler, SchedulerPlugins, SchedulerPluginsPodGroup, Volcano, VolcanoPodGroup
from kfcore.testing.client import FakeClient
from kfcore.testing.clock import FakeClock
from kfcore_local.gang import pod_group_crd
from kfcore_local.gpus import Gpus
from kfcore_local.node import Node, keep_node
from kfcore_local.scheduler import Scheduler

POD, NODE = untyped(Pod.resource), untyped(Node.resource)
UNFIT = "0/1 nodes are available: 1 {}. preemption: 0/1 nodes are available: 1 {}."
NO_VICTIMS, HOPELESS = "No preemption victims found for incoming pod", "Preemption is not helpful for scheduling"


def a_node(name: str = "here", **spec: Any) -> Manifest:
    allocatable = {"cpu": "4", "memory": "8Gi", "pods": "10"}
    status = {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]}
    metadata = {"name": name, "labels": {"disk": "ssd", "cores": "4"}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec, "status": status}


def a_pod(name: str, cpu: str = "", labels: dict[str, str] | None = None, **spec: Any) -> Manifest:
    container: Manifest = {"name": "main", "image": "an-image"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    metadata = {"name": name, "namespace": "default", **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


class Cluster:
    def __init__(self, *objects: Manifest, gang: GangScheduler | None = None) -> None:
        self.clock = FakeClock()
        crds = [pod_group_crd(gang.kind.resource)] if gang else []
        self.client = FakeClient(*crds, *objects, clock=self.clock)
        self.scheduler = Scheduler(self.client, gang=gang, clock=self.clock)

    async def settle(self) -> None:
        for _ in range(3):
            await self.clock.advance(0)

    async def create(self, *pods: Manifest) -> None:
        for pod in pods:
            await self.client.create(POD, pod)
        await self.settle()

    async def bound(self) -> dict[str, str]:
        """Pods and their nodes, of those that have one."""
        pods = await self.client.list(POD, "default")
        return {pod.name: pod.raw["spec"]["nodeName"] for pod in pods if "nodeName" in pod.raw["spec"]}

    async def why(self, name: str) -> str:
        """The message of a pod that could not be scheduled."""
        conditions = (await self.client.get(POD, name, "default")).raw["status"]["conditions"]
        [scheduled] = [item for item in conditions if item["type"] == "PodScheduled"]
        assert (scheduled["status"], scheduled["reason"]) == ("False", "Unschedulable")
        message: str = scheduled["message"]
        return message

    async def end(self, name: str, phase: str = "Succeeded") -> None:
        await self.client.patch(POD, name, "default", {"status": {"phase": phase}}, subresource="status")
        await self.settle()

    async def remove(self, name: str) -> None:
        await self.client.delete(POD, name, "default", grace_period_seconds=0)
        await self.settle()

    async def change_node(self, body: Manifest) -> None:
        await self.client.patch(NODE, "here", None, body, patch_type=PatchType.STRATEGIC)
        await self.settle()

    async def events(self) -> list[tuple[str, str, str]]:
        await self.settle()
        events = await self.client.list(Event, "default")
        return [(event.involved_object.name, event.reason, event.message) for event in events]


@asynccontextmanager
async def a_cluster(*objects: Manifest, gang: GangScheduler | None = None) -> AsyncIterator[Cluster]:
    cluster = Cluster(*objects, gang=gang)
    task = asyncio.create_task(cluster.scheduler.run())
    await cluster.settle()
    try:
        yield cluster
    finally:
        task.cancel()
        await asyncio.wait([task])


# ── binding ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_pods_are_bound_whether_they_came_before_or_after() -> None:
    async with a_cluster(a_node(), a_pod("early")) as cluster:
        await cluster.create(a_pod("late"))
        assert await cluster.bound() == {"early": "here", "late": "here"}
        pod = (await cluster.client.get(POD, "late", "default")).raw
        scheduled = next(c for c in pod["status"]["conditions"] if c["type"] == "PodScheduled")
        assert scheduled["status"] == "True"
        assert ("late", "Scheduled", "Successfully assigned default/late to here") in await cluster.events()


async def test_other_schedulers_pods_are_left_alone() -> None:
    async with a_cluster(a_node()) as cluster:
        await cluster.create(a_pod("theirs", schedulerName="volcano"), a_pod("ours"))
        assert await cluster.bound() == {"ours": "here"}


async def test_a_pod_waits_for_the_first_node() -> None:
    async with a_cluster(a_pod("early")) as cluster:
        assert await cluster.why("early") == "no nodes available to schedule pods"
        await cluster.client.create(NODE, a_node())
        await cluster.settle()
        assert await cluster.bound() == {"early": "here"}


# ── room ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_pod_without_room_is_unschedulable_and_bound_when_another_ends() -> None:
    async with a_cluster(a_node()) as cluster:
        await cluster.create(a_pod("first", cpu="3"), a_pod("second", cpu="1500m"))
        assert await cluster.bound() == {"first": "here"}
        assert await cluster.why("second") == UNFIT.format("Insufficient cpu", NO_VICTIMS)
        assert ("second", "FailedScheduling", await cluster.why("second")) in await cluster.events()
        await cluster.end("first")
        assert await cluster.bound() == {"first": "here", "second": "here"}


async def test_a_request_larger_than_the_machine_or_of_what_it_has_not_says_what_is_short() -> None:
    async with a_cluster(a_node()) as cluster:
        wanted = {"resources": {"limits": {"nvidia.com/gpu": 1, "cpu": 8}}, "name": "main", "image": "i"}
        await cluster.create(a_pod("large", containers=[wanted]))
        message = UNFIT.format("Insufficient cpu, 1 Insufficient nvidia.com/gpu", HOPELESS)
        assert await cluster.why("large") == message


async def test_no_more_pods_than_the_node_takes() -> None:
    async with a_cluster(a_node()) as cluster:
        await cluster.create(*(a_pod(f"pod-{number:02}") for number in range(11)))
        assert len(await cluster.bound()) == 10
        assert await cluster.why("pod-10") == UNFIT.format("Too many pods", NO_VICTIMS)


async def test_init_containers_count_when_they_ask_for_more_and_sidecars_with_the_others() -> None:
    async with a_cluster(a_node()) as cluster:

        def container(name: str, cpu: str, **more: str) -> Manifest:
            return {"name": name, "image": "i", "resources": {"requests": {"cpu": cpu}}, **more}

        init = [container("side", "500m", restartPolicy="Always"), container("prepare", "2")]
        await cluster.create(a_pod("first", cpu="1", initContainers=init))
        await cluster.create(a_pod("fits", cpu="1500m"))
        await cluster.create(a_pod("does-not", cpu="1m"))
        assert set(await cluster.bound()) == {"first", "fits"}


async def test_an_init_container_that_is_done_has_given_its_share_back() -> None:
    async with a_cluster(a_node()) as cluster:
        init = [{"name": "prepare", "image": "i", "resources": {"requests": {"cpu": "4"}}}]
        await cluster.create(a_pod("first", cpu="1", initContainers=init))
        await cluster.create(a_pod("second", cpu="3"))
        assert set(await cluster.bound()) == {"first"}
        done = {"status": {"conditions": [{"type": "Initialized", "status": "True"}]}}
        await cluster.client.patch(POD, "first", "default", done, patch_type=PatchType.STRATEGIC, subresource="status")
        await cluster.settle()
        assert set(await cluster.bound()) == {"first", "second"}


# ── which node ───────────────────────────────────────────────────────────────────────────────────────────────────────


def required(*terms: Manifest) -> Manifest:
    selector = {"nodeSelectorTerms": list(terms)}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": selector}}}


def expression(key: str, operator: str, *values: str) -> Manifest:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({"nodeSelector": {"disk": "ssd"}}, True),
        ({"nodeSelector": {"disk": "tape"}}, False),
        (required(expression("disk", "In", "ssd", "nvme")), True),
        (required(expression("disk", "NotIn", "ssd")), False),
        (required(expression("disk", "Exists")), True),
        (required(expression("gpu", "Exists")), False),
        (required(expression("gpu", "DoesNotExist")), True),
        (required(expression("cores", "Gt", "2")), True),
        (required(expression("cores", "Lt", "4")), False),
        (required(expression("gpu", "Exists"), expression("disk", "In", "ssd")), True),
        (required({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["here"]}]}), True),
        (required({}), False),
    ],
)
async def test_node_selectors_and_required_affinity_are_obeyed(spec: Manifest, fits: bool) -> None:
    async with a_cluster(a_node()) as cluster:
        await cluster.create(a_pod("choosy", **spec))
        assert ("choosy" in await cluster.bound()) is fits
        if not fits:
            assert await cluster.why("choosy") == UNFIT.format(
                "node(s) didn't match Pod's node affinity/selector", HOPELESS
            )


async def test_a_taint_keeps_away_whoever_does_not_tolerate_it() -> None:
    async with a_cluster(a_node(taints=[{"key": "team", "value": "blue", "effect": "NoSchedule"}])) as cluster:
        await cluster.create(
            a_pod("stranger"),
            a_pod("member", tolerations=[{"key": "team", "value": "blue"}]),
            a_pod("other", tolerations=[{"key": "team", "value": "red", "effect": "NoSchedule"}]),
            a_pod("anybody", tolerations=[{"operator": "Exists"}]),
        )
        assert set(await cluster.bound()) == {"member", "anybody"}
        assert await cluster.why("stranger") == UNFIT.format("node(s) had untolerated taint {team: blue}", HOPELESS)


async def test_a_cordoned_node_takes_nobody_until_it_is_uncordoned() -> None:
    async with a_cluster(a_node(unschedulable=True)) as cluster:
        await cluster.create(a_pod("waits"))
        assert await cluster.why("waits") == UNFIT.format("node(s) were unschedulable", HOPELESS)
        await cluster.change_node({"spec": {"unschedulable": None}})
        assert await cluster.bound() == {"waits": "here"}


# ── priorities ───────────────────────────────────────────────────────────────────────────────────────────────────────


def a_priority_class(name: str, value: int, **fields: Any) -> Manifest:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        **fields,
    }


CLASSES = (a_priority_class("high", 1000), a_priority_class("polite", 1000, preemptionPolicy="Never"))


async def test_of_those_that_wait_the_most_important_gets_the_room_first() -> None:
    async with a_cluster(a_node(unschedulable=True), *CLASSES) as cluster:
        await cluster.create(a_pod("low", cpu="3"), a_pod("high", cpu="3", priorityClassName="high"))
        await cluster.change_node({"spec": {"unschedulable": None}})
        assert await cluster.bound() == {"high": "here"}


async def test_a_more_important_pod_takes_the_place_of_the_least_important_that_suffices() -> None:
    async with a_cluster(a_node(), *CLASSES) as cluster:
        await cluster.create(a_pod("old", cpu="2"), a_pod("young", cpu="1"))
        await cluster.client.create(untyped(Pod.resource), a_pod("high", cpu="2", priorityClassName="high"))
        await cluster.settle()
        pods = {pod.name: pod for pod in await cluster.client.list(POD, "default")}
        leaving = [name for name, pod in pods.items() if pod.metadata.deletion_timestamp]
        assert leaving == ["young"]
        assert pods["high"].raw["status"]["nominatedNodeName"] == "here"
        [target] = [c for c in pods["young"].raw["status"]["conditions"] if c["type"] == "DisruptionTarget"]
        assert target["reason"] == "PreemptionByScheduler"
        await cluster.create(a_pod("sneaks-in", cpu="1"))
        await cluster.remove("young")
        assert set(await cluster.bound()) == {"old", "high"}


async def test_a_class_that_never_preempts_waits() -> None:
    async with a_cluster(a_node(), *CLASSES) as cluster:
        await cluster.create(a_pod("low", cpu="4"))
        await cluster.create(a_pod("polite", cpu="4", priorityClassName="polite"))
        assert await cluster.bound() == {"low": "here"}
        assert await cluster.why("polite") == UNFIT.format("Insufficient cpu", NO_VICTIMS)


# ── groups ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_group(gang: GangScheduler, minimum: int) -> Manifest:
    resource = gang.kind.resource
    return {
        "apiVersion": resource.api_version,
        "kind": "PodGroup",
        "metadata": {"name": "team", "namespace": "default"},
        "spec": {"minMember": minimum},
    }


def a_member(gang: GangScheduler, name: str, cpu: str = "1") -> Manifest:
    pod = a_pod(name, cpu=cpu, schedulerName=gang.scheduler_name)
    if gang.kind is VolcanoPodGroup:
        pod["metadata"]["annotations"] = {"scheduling.k8s.io/group-name": "team"}
    else:
        pod["metadata"]["labels"] = {"scheduling.x-k8s.io/pod-group": "team"}
    return pod


GANGS = pytest.mark.parametrize("gang", [Volcano(), SchedulerPlugins("scheduler-plugins-scheduler")], ids=str)


@GANGS
async def test_a_group_waits_until_all_that_it_needs_are_there(gang: GangScheduler) -> None:
    async with a_cluster(a_node(), a_group(gang, 3), gang=gang) as cluster:
        await cluster.create(a_member(gang, "a"), a_member(gang, "b"))
        assert await cluster.bound() == {}
        assert "needs 3 pods at once, and 2 are there" in await cluster.why("a")
        await cluster.create(a_member(gang, "c"))
        assert set(await cluster.bound()) == {"a", "b", "c"}


@GANGS
async def test_a_group_that_does_not_fit_as_a_whole_gets_nothing_until_it_does(gang: GangScheduler) -> None:
    async with a_cluster(a_node(), a_pod("in-the-way", cpu="2"), a_group(gang, 3), gang=gang) as cluster:
        await cluster.create(*(a_member(gang, name) for name in "abc"))
        assert set(await cluster.bound()) == {"in-the-way"}
        assert "1 Insufficient cpu" in await cluster.why("a")
        assert "needs 3 pods at once, and 2 find room" in await cluster.why("a")
        await cluster.create(a_pod("alone", cpu="2"))
        assert set(await cluster.bound()) == {"in-the-way", "alone"}
        await cluster.end("alone")
        await cluster.end("in-the-way")
        assert {"a", "b", "c"} <= set(await cluster.bound())


@GANGS
async def test_a_member_is_replaced_beside_those_that_run(gang: GangScheduler) -> None:
    async with a_cluster(a_node(), a_group(gang, 3), gang=gang) as cluster:
        await cluster.create(*(a_member(gang, name) for name in "abc"))
        await cluster.remove("b")
        await cluster.create(a_member(gang, "b"))
        assert set(await cluster.bound()) == {"a", "b", "c"}


async def test_a_group_says_whether_it_has_its_places() -> None:
    async with a_cluster(a_node(), a_group(Volcano(), 2), gang=Volcano()) as cluster:
        await cluster.create(a_member(Volcano(), "a", "3"), a_member(Volcano(), "b", "3"))
        status = (await cluster.client.get(VolcanoPodGroup, "team", "default")).raw["status"]
        assert (status["phase"], status["conditions"][0]["type"]) == ("Inqueue", "Unschedulable")
        await cluster.remove("b")
        await cluster.create(a_member(Volcano(), "b"))
        status = (await cluster.client.get(VolcanoPodGroup, "team", "default")).raw["status"]
        assert (status["phase"], status["conditions"][0]["type"]) == ("Running", "Scheduled")


async def test_a_member_of_no_group_waits_for_it() -> None:
    gang = SchedulerPlugins("scheduler-plugins-scheduler")
    async with a_cluster(a_node(), gang=gang) as cluster:
        await cluster.create(a_member(gang, "a"))
        assert await cluster.why("a") == 'podgroups "team" not found'
        await cluster.client.create(SchedulerPluginsPodGroup, a_group(gang, 1))
        await cluster.settle()
        assert set(await cluster.bound()) == {"a"}


# ── the node ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_node_is_ready_and_renews_its_lease(tmp_path: Path) -> None:
    clock = FakeClock()
    client = FakeClient(clock=clock)
    task = asyncio.create_task(keep_node(client, clock, "here", "127.0.0.1", Gpus(), tmp_path))
    await clock.advance(0)
    node = await client.get(untyped(Node.resource), "here")
    ready = next(c for c in node.raw["status"]["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "True"
    assert set(node.raw["status"]["allocatable"]) == {"cpu", "memory", "ephemeral-storage", "pods"}
    first = (await client.get(Lease, "here", "kube-node-lease")).spec.renew_time
    await clock.advance(10)
    second = (await client.get(Lease, "here", "kube-node-lease")).spec.renew_time
    assert first is not None
    assert second is not None
    assert (second - first).total_seconds() == 10
    task.cancel()


def nvidia_smi(folder: Path, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


async def test_gpus_are_offered_and_handed_out_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, "echo '0, GPU-aaa'; echo '1, GPU-bbb'; echo '2, GPU-ccc'")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-ccc")
    gpus = Gpus()
    await gpus.find()
    assert gpus.devices == ("0", "2")
    one = {"nvidia.com/gpu": 1}
    first, second = gpus.variables("pod-1", "main", one), gpus.variables("pod-2", "main", one)
    assert {first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]} == {"0", "2"}
    assert gpus.variables("pod-1", "main", one) == first, "a container that is started again keeps its own"
    assert gpus.variables("pod-3", "main", {})["CUDA_VISIBLE_DEVICES"] == ""
    gpus.release("pod-1")
    assert gpus.variables("pod-4", "main", one) == first


@pytest.mark.parametrize("script", ["exit 9", "echo 'NVIDIA-SMI has failed'"])
async def test_a_broken_driver_is_a_machine_without_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    nvidia_smi(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    gpus = Gpus()
    await gpus.find()
    assert gpus.devices == ()
