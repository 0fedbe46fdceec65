"""The order in which a process starts and stops, and what it shows of itself meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from kfcore.api.core import Event, Lease, Namespace, Pod, Service
from kfcore.api.meta import owner_reference, untyped
from kfcore.api.resource import Resource
from kfcore.cache.cache import CacheNotSynced
from kfcore.client.errors import Forbidden
from kfcore.controller.controller import Request, Result
from kfcore.controller.http_server import parse_address
from kfcore.controller.leader_election import LeaderElector, LeadershipLost
from kfcore.controller.manager import Manager
from kfcore.testing import FakeClient, FakeClock

AnyPod = untyped(Pod.resource)


def a_pod(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }


class ServicePerPod:
    """The smallest operator: every Pod gets a Service of its name."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.reconciled: list[str] = []

    async def reconcile(self, request: Request) -> Result | None:
        self.reconciled.append(request.name)
        pods = await self.manager.cache.list(Pod, request.namespace)
        pod = next((pod for pod in pods if pod.name == request.name), None)
        if pod is None or await self.manager.cache.list_owned(Service, pod):
            return None
        metadata = {"name": pod.name, "ownerReferences": [owner_reference(pod)]}
        await self.manager.client.create(
            Service, {"metadata": metadata, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}, pod.namespace
        )
        self.manager.recorder("service-per-pod").normal(pod, "Created", f"service {pod.name} was created")
        return None


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def client(clock: FakeClock) -> FakeClient:
    return FakeClient(clock=clock)


@asynccontextmanager
async def running(manager: Manager, clock: FakeClock) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(manager.run())
    await clock.advance(0)
    try:
        yield task
    finally:
        manager.stop()
        await clock.advance(60)
        await asyncio.wait([task], timeout=60)
        assert task.done()


async def test_an_operator_brings_the_cluster_to_what_it_should_be(client: FakeClient, clock: FakeClock) -> None:
    await client.create(Pod, a_pod("before"))
    manager = Manager(client, clock=clock)
    manager.add_controller(ServicePerPod(manager), Pod, owns=[Service], workers=2)
    async with running(manager, clock):
        await client.create(Pod, a_pod("after"))
        await clock.advance(1)
        assert [service.name for service in await client.list(Service)] == ["after", "before"]
        await client.delete(Service, "before", "default")
        await clock.advance(1)
        assert [service.name for service in await client.list(Service)] == ["after", "before"]
        assert {event.involved_object.name for event in await client.list(Event)} == {"after", "before"}


async def test_what_would_never_run_or_be_told_apart_is_refused(client: FakeClient, clock: FakeClock) -> None:
    manager = Manager(client, clock=clock)
    manager.add_controller(ServicePerPod(manager), Pod)
    with pytest.raises(ValueError, match="there is a controller 'pod' already"):
        manager.add_controller(ServicePerPod(manager), Pod)
    manager.add_controller(ServicePerPod(manager), Pod, name="another")
    async with running(manager, clock):
        with pytest.raises(RuntimeError, match="add it before"):
            manager.add_controller(ServicePerPod(manager), Service)
        with pytest.raises(RuntimeError, match="add it before"):
            manager.add_runnable(asyncio.Event().wait)  # type: ignore[arg-type]


async def test_nothing_is_reconciled_before_every_cache_is_filled(client: FakeClient, clock: FakeClock) -> None:
    widgets = untyped(Resource("example.com", "v1", "Widget", "widgets"))
    await client.create(Pod, a_pod("a"))
    manager = Manager(client, clock=clock, sync_timeout=10)
    reconciler = ServicePerPod(manager)
    manager.add_controller(reconciler, Pod, owns=[widgets])
    task = asyncio.create_task(manager.run())
    await clock.advance(11)
    with pytest.raises(CacheNotSynced, match=r"widgets\.example\.com: .*CustomResourceDefinition"):
        await task
    assert reconciler.reconciled == []


class OneASecond:
    """Reconciles slowly enough for a test to see in which order."""

    def __init__(self, clock: FakeClock) -> None:
        self.order: list[str] = []
        self._clock = clock

    async def reconcile(self, request: Request) -> None:
        self.order.append(request.key)
        await self._clock.sleep(1)


async def test_what_changes_goes_before_what_was_there_at_the_start(client: FakeClient, clock: FakeClock) -> None:
    for number in range(10):
        await client.create(Pod, a_pod(f"old-{number}"))
    manager, reconciler = Manager(client, clock=clock), OneASecond(clock)
    manager.add_controller(reconciler, Pod)
    async with running(manager, clock):
        await clock.advance(1.5)
        await client.create(Pod, a_pod("new"))
        await clock.advance(1)
        assert reconciler.order == ["default/old-0", "default/old-1", "default/new"]


async def test_a_namespace_of_many_objects_does_not_hold_up_another(client: FakeClient, clock: FakeClock) -> None:
    await client.create(Namespace, {"metadata": {"name": "small"}})
    for number in range(10):
        await client.create(Pod, a_pod(f"pod-{number}"))
    await client.create(Pod, {**a_pod("mine"), "metadata": {"name": "mine", "namespace": "small"}})
    manager, reconciler = Manager(client, clock=clock), OneASecond(clock)
    manager.add_controller(reconciler, Pod)
    async with running(manager, clock):
        await clock.advance(1)
        assert reconciler.order == ["default/pod-0", "small/mine"]


async def test_stopping_lets_a_reconcile_finish_and_writes_its_events(client: FakeClient, clock: FakeClock) -> None:
    manager = Manager(client, clock=clock)
    finished = []

    class Slow:
        async def reconcile(self, request: Request) -> None:
            await clock.sleep(5)
            finished.append(request.name)
            for number in range(40):  # more than are written at once
                about = AnyPod({"metadata": {"name": f"pod-{number}", "namespace": "default"}})
                manager.recorder("slow").normal(about, "Done", "at last")

    manager.add_controller(Slow(), Pod)
    await client.create(Pod, a_pod("a"))
    task = asyncio.create_task(manager.run())
    await clock.advance(1)
    manager.stop()
    await clock.advance(1)
    assert not task.done()
    await clock.advance(4)
    await asyncio.wait_for(task, 60)
    assert finished == ["a"]
    assert [event.reason for event in await client.list(Event)] == ["Done"] * 40


async def test_a_reconcile_that_hangs_is_cut_off_after_the_grace_period_and_the_lease_given_back(
    client: FakeClient, clock: FakeClock
) -> None:
    elector = LeaderElector(client, clock, name="operator", namespace="default")
    manager = Manager(client, clock=clock, grace_period=20, leader_election=elector)

    class Hangs:
        async def reconcile(self, request: Request) -> None:
            await asyncio.Event().wait()

    manager.add_controller(Hangs(), Pod)
    await client.create(Pod, a_pod("a"))
    task = asyncio.create_task(manager.run())
    await clock.advance(1)
    manager.stop()
    await clock.advance(19)
    assert not task.done()
    await clock.advance(2)
    await asyncio.wait_for(task, 60)
    assert (await client.get(Lease, "operator", "default")).spec.holder_identity == ""


async def test_a_runnable_runs_beside_the_controllers_and_its_failure_is_the_manager_s(
    client: FakeClient, clock: FakeClock
) -> None:
    manager = Manager(client, clock=clock)

    async def fails_later() -> None:
        await clock.sleep(10)
        raise RuntimeError("the disk is full")

    manager.add_runnable(fails_later)
    task = asyncio.create_task(manager.run())
    await clock.advance(11)
    with pytest.raises(RuntimeError, match="the disk is full"):
        await task


async def test_only_the_leader_reconciles_and_a_lost_lease_ends_it_at_once(
    client: FakeClient, clock: FakeClock
) -> None:
    def replica(identity: str) -> tuple[Manager, ServicePerPod]:
        elector = LeaderElector(client, clock, name="operator", namespace="default", identity=identity)
        manager = Manager(client, clock=clock, leader_election=elector)
        reconciler = ServicePerPod(manager)
        manager.add_controller(reconciler, Pod)
        return manager, reconciler

    (first, first_work), (second, second_work) = replica("first"), replica("second")
    one = asyncio.create_task(first.run())
    await clock.advance(1)
    two = asyncio.create_task(second.run())
    await client.create(Pod, a_pod("a"))
    await clock.advance(30)
    assert (first_work.reconciled, second_work.reconciled) == (["a"], [])

    await client.patch(Lease, "operator", "default", {"spec": {"holderIdentity": "thief"}})
    await clock.advance(3)
    with pytest.raises(LeadershipLost):
        await one
    await clock.advance(30)
    assert second_work.reconciled == ["a"]

    second.stop()
    await clock.advance(1)
    await asyncio.wait_for(two, 60)
    assert (await client.get(Lease, "operator", "default")).spec.holder_identity == ""


async def test_a_replica_that_waits_for_the_lease_stops_at_once(client: FakeClient, clock: FakeClock) -> None:
    holder = LeaderElector(client, clock, name="operator", namespace="default", identity="other")
    await holder.acquire()
    elector = LeaderElector(client, clock, name="operator", namespace="default", identity="me")
    manager = Manager(client, clock=clock, leader_election=elector)
    task = asyncio.create_task(manager.run())
    await clock.advance(1)
    manager.stop()
    await asyncio.wait_for(task, 60)


async def test_what_needs_no_leadership_runs_in_every_replica(client: FakeClient, clock: FakeClock) -> None:
    holder = LeaderElector(client, clock, name="operator", namespace="default", identity="other")
    await holder.acquire()
    elector = LeaderElector(client, clock, name="operator", namespace="default", identity="me")
    manager = Manager(client, clock=clock, leader_election=elector)
    started = []

    def runnable(name: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            started.append(name)
            await asyncio.Event().wait()

        return run

    manager.add_runnable(runnable("leader's"))
    manager.add_runnable(runnable("everybody's"), needs_leadership=False)
    async with running(manager, clock):
        await clock.advance(10)
        assert started == ["everybody's"]
        await client.patch(Lease, "operator", "default", {"spec": {"holderIdentity": ""}})
        await clock.advance(10)
        assert started == ["everybody's", "leader's"]


async def test_cancelling_the_manager_leaves_nothing_running(client: FakeClient, clock: FakeClock) -> None:
    manager = Manager(client, clock=clock)
    manager.add_controller(ServicePerPod(manager), Pod)
    before = asyncio.all_tasks()
    task = asyncio.create_task(manager.run())
    await clock.advance(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await clock.advance(0)
    assert asyncio.all_tasks() == before


async def test_health_readiness_and_metrics_are_served(client: FakeClient, clock: FakeClock) -> None:
    manager = Manager(client, clock=clock, health_address="127.0.0.1:0", metrics_address="127.0.0.1:0")
    manager.add_controller(ServicePerPod(manager), Pod)
    await client.create(Pod, a_pod("a"))
    async with running(manager, clock), aiohttp.ClientSession() as http:
        async with asyncio.timeout(60):
            while "metrics" not in manager.ports or not manager.controllers[0].results["success"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        async def get(name: str, path: str) -> tuple[int, str]:
            async with http.get(f"http://127.0.0.1:{manager.ports[name]}{path}") as answer:
                return answer.status, await answer.text()

        assert await get("health", "/healthz") == (200, "ok")
        assert await get("health", "/readyz") == (200, "ok")
        status, text = await get("metrics", "/metrics")
        assert status == 200
        for line in (
            'controller_runtime_reconcile_total{controller="pod",result="success"} 1.0',
            'controller_runtime_reconcile_errors_total{controller="pod"} 0.0',
            'controller_runtime_reconcile_time_seconds_count{controller="pod"} 1.0',
            'controller_runtime_active_workers{controller="pod"} 0.0',
            'workqueue_depth{controller="pod",name="pod"} 0.0',
            'workqueue_adds_total{controller="pod",name="pod"} 1.0',
            'workqueue_retries_total{controller="pod",name="pod"} 0.0',
            'workqueue_queue_duration_seconds_count{controller="pod",name="pod"} 1.0',
            'workqueue_work_duration_seconds_count{controller="pod",name="pod"} 1.0',
            'workqueue_unfinished_work_seconds{controller="pod",name="pod"} 0.0',
        ):
            assert line in text.splitlines()


async def test_it_is_ready_when_its_caches_are_filled_and_no_longer_when_it_stops(
    client: FakeClient, clock: FakeClock
) -> None:
    class Hangs:
        async def reconcile(self, request: Request) -> None:
            await asyncio.Event().wait()

    await client.create(Pod, a_pod("a"))
    forbidden = client.faults.fail(None, Pod, Forbidden("not yours"), times=None)
    manager = Manager(client, clock=clock, health_address="127.0.0.1:0")
    manager.add_controller(Hangs(), Pod)
    async with running(manager, clock), aiohttp.ClientSession() as http:
        async with asyncio.timeout(60):
            while "health" not in manager.ports:  # noqa: ASYNC110 — a port is no event
                await asyncio.sleep(0.01)

        async def status(path: str) -> int:
            async with http.get(f"http://127.0.0.1:{manager.ports['health']}{path}") as answer:
                return answer.status

        await clock.advance(30)
        assert (await status("/healthz"), await status("/readyz")) == (200, 503)
        forbidden.stop()
        await clock.advance(60)
        assert (await status("/healthz"), await status("/readyz")) == (200, 200)
        manager.stop()
        await clock.advance(1)
        assert (await status("/healthz"), await status("/readyz")) == (200, 503)


async def test_checks_of_an_author_count_too_and_are_named(client: FakeClient, clock: FakeClock) -> None:
    manager, states = Manager(client, clock=clock, health_address="127.0.0.1:0"), {"queue": True, "model": False}
    manager.add_health_check("queue", lambda: states["queue"])
    manager.add_readiness_check("model", lambda: states["model"])
    async with running(manager, clock), aiohttp.ClientSession() as http:
        async with asyncio.timeout(60):
            while "health" not in manager.ports:  # noqa: ASYNC110 — a port is no event
                await asyncio.sleep(0.01)
        await clock.advance(1)

        async def get(path: str) -> tuple[int, str]:
            async with http.get(f"http://127.0.0.1:{manager.ports['health']}{path}") as answer:
                return answer.status, await answer.text()

        assert (await get("/healthz"), await get("/readyz")) == ((200, "ok"), (503, "model says no"))
        states.update(queue=False, model=True)
        assert (await get("/healthz"), await get("/readyz")) == ((503, "queue says no"), (200, "ok"))


def test_an_address_that_is_none_is_refused_with_what_was_expected() -> None:
    assert parse_address(":8080") == ("", 8080)
    assert parse_address("[::1]:80") == ("::1", 80)
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        parse_address("8080")
