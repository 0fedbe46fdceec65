"""Whatever goes wrong between an operator and its API server, the cluster ends up as a run without faults leaves it."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from fleet import Fleet, FleetReconciler, a_fleet, pod_names, serve_fleets
from ports import reserved_port

from kfcore.api.core import Pod
from kfcore.apiserver.http import HttpServer
from kfcore.apiserver.server import ApiServer
from kfcore.apiserver.storage import Change
from kfcore.client.cluster import ClusterClient
from kfcore.client.errors import Conflict, ConnectionFailed, InternalError, NotFound, TooManyRequests
from kfcore.client.retry import RetryPolicy
from kfcore.controller.controller import Request
from kfcore.controller.manager import Manager
from kfcore.testing import FakeClient, FakeClock


@pytest.fixture
def user(fake_clock: FakeClock) -> FakeClient:
    """Who changes fleets."""
    client = FakeClient(clock=fake_clock)
    serve_fleets(client)
    return client


@pytest.fixture
def client(user: FakeClient, fake_clock: FakeClock) -> FakeClient:
    """The operator's own connection."""
    return FakeClient(clock=fake_clock, server=user.server)


@pytest.fixture
def created(user: FakeClient) -> Counter[str]:
    """How often a Pod of each name was created."""
    counts: Counter[str] = Counter()

    def count(change: Change) -> None:
        if change.type == "ADDED":
            counts[change.current.key[1]] += 1

    user.server.storage.collection("pods").subscribers.append(count)
    return counts


@asynccontextmanager
async def running(manager: Manager, clock: FakeClock) -> AsyncIterator[None]:
    task = asyncio.create_task(manager.run())
    await clock.advance(0)
    try:
        yield
    finally:
        manager.stop()
        await clock.advance(60)
        await asyncio.wait_for(task, 60)


async def pods_of(client: FakeClient) -> list[str]:
    return [pod.name for pod in await client.list(Pod, "default")]


def forget_history(server: ApiServer) -> None:
    """What a server knows after it restarted: every object, and no change before."""
    for collection in server.storage.collections.values():
        collection.history.clear()
        collection.oldest = server.storage.version


@pytest.mark.parametrize("history_lost", [False, True], ids=["history kept", "history lost"])
async def test_a_server_that_was_away_is_caught_up_with(
    history_lost: bool, user: FakeClient, client: FakeClient, fake_clock: FakeClock, created: Counter[str]
) -> None:
    manager = Manager(client, clock=fake_clock)
    FleetReconciler.add_to(manager)
    await user.create(Fleet, a_fleet("grows", 1))
    await user.create(Fleet, a_fleet("goes", 2))
    async with running(manager, fake_clock):
        await fake_clock.advance(1)
        down = client.faults.fail(None, times=None)
        client.faults.cut()
        await fake_clock.advance(1)
        await user.patch(Fleet, "grows", "default", {"spec": {"size": 3}})
        await user.delete(Fleet, "goes", "default")
        await user.create(Fleet, a_fleet("new", 1))
        if history_lost:
            forget_history(user.server)
        await fake_clock.advance(60)
        assert down.hits > 3
        down.stop()
        await fake_clock.advance(60)
        assert await pods_of(user) == [*pod_names("grows", 3), *pod_names("new", 1)]
        assert set(created.values()) == {1}


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_port() as reserved:
        yield reserved


@pytest.mark.parametrize("history_lost", [False, True], ids=["history kept", "history lost"])
async def test_a_server_that_restarts_on_its_port_is_found_again(history_lost: bool, port: int) -> None:
    store = FakeClient()
    serve_fleets(store)
    server = HttpServer(store.server, token="secret", port=port)
    await server.start()
    policy = RetryPolicy(first_delay=0.01, longest_delay=0.05, deadline=0.2)
    async with await ClusterClient.at(server.url, token="secret", retry=policy) as client:
        manager = Manager(client)
        FleetReconciler.add_to(manager)
        await store.create(Fleet, a_fleet("before", 2))
        task = asyncio.create_task(manager.run())
        await _until(store, pod_names("before", 2))
        await server.stop()
        await store.create(Fleet, a_fleet("meanwhile", 2))
        if history_lost:
            forget_history(store.server)
        await asyncio.sleep(0.2)
        server = HttpServer(store.server, token="secret", port=port)
        await server.start()
        await _until(store, [*pod_names("before", 2), *pod_names("meanwhile", 2)])
        manager.stop()
        await asyncio.wait_for(task, 60)
    await server.stop()


async def _until(store: FakeClient, names: list[str]) -> None:
    async with asyncio.timeout(120):
        while await pods_of(store) != names:  # noqa: ASYNC110 — what is waited for happens in the server
            await asyncio.sleep(0.01)


async def test_one_key_that_fails_for_ever_holds_up_none_of_a_thousand_others(
    client: FakeClient, fake_clock: FakeClock
) -> None:
    done: set[str] = set()
    failures = 0

    class OneFails:
        async def reconcile(self, request: Request) -> None:
            nonlocal failures
            if request.name == "bad":
                failures += 1
                raise RuntimeError("never works")
            done.add(request.name)

    manager = Manager(client, clock=fake_clock)
    controller = manager.add_controller(OneFails(), Fleet)
    async with running(manager, fake_clock):
        controller.queue.add(Request("default", "bad"))
        for number in range(1000):
            controller.queue.add(Request("default", f"good-{number}"))
        await fake_clock.advance(0.1)
        assert len(done) == 1000
        await fake_clock.advance(3600)
        assert 10 < failures < 30, "it is tried again, less and less often"
        assert controller.results["error"] == failures


async def test_a_reconcile_that_hangs_holds_up_none_of_a_thousand_others_and_is_tried_again(
    client: FakeClient, fake_clock: FakeClock
) -> None:
    done: set[str] = set()
    tries = 0

    class OneHangs:
        async def reconcile(self, request: Request) -> None:
            nonlocal tries
            if request.name == "hangs":
                tries += 1
                if tries < 3:
                    await asyncio.Event().wait()
            done.add(request.name)

    manager = Manager(client, clock=fake_clock)
    controller = manager.add_controller(OneHangs(), Fleet, workers=2, reconcile_timeout=60)
    async with running(manager, fake_clock):
        controller.queue.add(Request("default", "hangs"))
        for number in range(1000):
            controller.queue.add(Request("default", f"good-{number}"))
        await fake_clock.advance(1)
        assert len(done) == 1000
        assert "hangs" not in done
        await fake_clock.advance(125)
        assert "hangs" in done


@pytest.mark.parametrize("lag", [{"seconds": 1.0}, {"events": 3}], ids=["a second", "three events"])
async def test_a_cache_that_lags_makes_nothing_twice(
    lag: dict[str, float], user: FakeClient, client: FakeClient, fake_clock: FakeClock, created: Counter[str]
) -> None:
    rule = client.faults.lag(**lag)  # type: ignore[arg-type]
    manager = Manager(client, clock=fake_clock)
    FleetReconciler.add_to(manager, workers=4)
    async with running(manager, fake_clock):
        for number in range(5):
            await user.create(Fleet, a_fleet(f"fleet-{number}", 4))
            await fake_clock.advance(0.3)
        await fake_clock.advance(5)
        rule.stop()
        await user.create(Fleet, a_fleet("last", 0))  # shows what a lag by events still held back
        await fake_clock.advance(30)
        assert await pods_of(user) == [name for number in range(5) for name in pod_names(f"fleet-{number}", 4)]
        assert set(created.values()) == {1}


async def test_an_object_that_goes_between_read_and_write_is_no_failure(
    user: FakeClient, client: FakeClient, fake_clock: FakeClock
) -> None:
    await user.create(Fleet, a_fleet("gone", 2))
    manager = Manager(client, clock=fake_clock)
    FleetReconciler.add_to(manager)
    client.faults.fail("create", Pod, NotFound("the namespace was just deleted"))
    async with running(manager, fake_clock):
        await user.delete(Fleet, "gone", "default")
        await fake_clock.advance(60)
        assert await pods_of(user) == []
        assert len(manager.controllers[0].queue) == 0


async def test_any_mixture_of_faults_ends_as_a_run_without(
    random_seed: int, user: FakeClient, client: FakeClient, fake_clock: FakeClock, created: Counter[str]
) -> None:
    dice, faults = random.Random(random_seed), client.faults
    manager = Manager(client, clock=fake_clock, sync_timeout=3600)
    FleetReconciler.add_to(manager, workers=dice.choice([1, 4]), reconcile_timeout=300)
    sizes: dict[str, int] = {}
    existed: set[str] = set()
    async with running(manager, fake_clock):
        for step in range(40):
            action = dice.randrange(4)
            if action == 0 or not sizes:
                name = f"fleet-{step}"
                sizes[name] = dice.randrange(4)
                await user.create(Fleet, a_fleet(name, sizes[name]))
            elif action == 1:
                name = dice.choice(list(sizes))
                sizes[name] += dice.randrange(3)
                await user.patch(Fleet, name, "default", {"spec": {"size": sizes[name]}})
            elif action == 2 and dice.random() < 0.5:
                name = dice.choice(list(sizes))
                del sizes[name]
                await user.delete(Fleet, name, "default")
            _something_goes_wrong(dice, client)
            if dice.random() < 0.05:
                forget_history(user.server)
            existed.update(name for fleet, size in sizes.items() for name in pod_names(fleet, size))
            await fake_clock.advance(dice.choice([0, 0.01, 0.5, 5, 40]))
        faults.clear()
        faults.cut()
        await fake_clock.advance(2000)
        wanted = sorted(name for fleet, size in sizes.items() for name in pod_names(fleet, size))
        assert await pods_of(user) == wanted
        assert {fleet.name: fleet.raw["status"]["pods"] for fleet in await user.list(Fleet)} == sizes
        assert set(created) <= existed
        assert all(count == 1 for count in created.values()), "every name is used once, and so is its Pod made once"


def _something_goes_wrong(dice: random.Random, client: FakeClient) -> None:
    faults = client.faults
    match dice.randrange(12):
        case 0:
            faults.cut(dice.choice([None, Pod, Fleet]))
        case 1:
            faults.stall(dice.choice([None, Pod, Fleet]))
        case 2:
            faults.break_watch(dice.choice([Pod, Fleet]), after=dice.randrange(5))
            faults.cut()
        case 3:
            faults.garble_watch(
                Pod, dice.choice([b"garbage", b'{"type":"ADDED","object":{"met']), after=dice.randrange(3)
            )
        case 4:
            faults.end_watch(Fleet, after=dice.randrange(3))
        case 5:
            faults.lag(dice.choice([Pod, Fleet]), seconds=dice.choice([0.1, 1, 10]))
        case 6:
            faults.clear()
        case 7:
            faults.fail("update", Fleet, Conflict("changed meanwhile"), times=2)
        case 8 | 9:
            fault = dice.choice([InternalError("oops"), TooManyRequests("later"), ConnectionFailed("reset")])
            verb = dice.choice(["create", "update", "get", "delete", None])
            faults.fail(verb, None, fault, times=dice.randrange(1, 4), carried_out=dice.random() < 0.5)
        case _:
            pass
