"""What a reconciler may rely on, and what the others may when it fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from kfcore.api.core import Pod
from kfcore.api.meta import ObjectMeta, OwnerReference
from kfcore.cache.informer import Change
from kfcore.client.errors import Conflict, StatusDetails, TooManyRequests
from kfcore.controller.controller import Controller, Request, Result, TerminalError
from kfcore.controller.handlers import enqueue_mapped, enqueue_object, enqueue_owner
from kfcore.controller.predicates import (
    all_of,
    any_of,
    generation_changed,
    labels_match,
    negate,
    resource_version_changed,
)
from kfcore.testing import FakeClock

A, B = Request("default", "a"), Request("default", "b")


class Calls:
    """A reconciler that keeps a diary and does what a test says."""

    def __init__(self, then: Callable[[Request], Awaitable[Result | None]] | None = None) -> None:
        self.requests: list[Request] = []
        self.then = then

    async def reconcile(self, request: Request) -> Result | None:
        self.requests.append(request)
        return await self.then(request) if self.then else None


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@asynccontextmanager
async def running(controller: Controller) -> AsyncIterator[None]:
    task = asyncio.create_task(controller.run())
    try:
        yield
    finally:
        controller.stop()
        task.cancel()
        await asyncio.wait([task])


async def test_a_result_says_when_to_come_back(clock: FakeClock) -> None:
    async def later(request: Request) -> Result:
        return Result(requeue_after=30)

    calls = Calls(later)
    controller = Controller("pods", calls, clock=clock)
    controller.queue.add(A)
    async with running(controller):
        await clock.advance(29)
        assert calls.requests == [A]
        await clock.advance(2)
        assert calls.requests == [A, A]
        assert controller.results["requeue_after"] == 2


async def test_a_failing_key_is_tried_again_and_again_while_the_others_flow(clock: FakeClock) -> None:
    async def fail_for_a(request: Request) -> None:
        if request == A:
            raise RuntimeError("broken for ever")

    calls = Calls(fail_for_a)
    controller = Controller("pods", calls, clock=clock)
    others = [Request(f"ns-{number % 10}", f"job-{number}") for number in range(1000)]
    for request in (A, *others):
        controller.queue.add(request)
    async with running(controller):
        await clock.advance(1)
    assert set(others) <= set(calls.requests)
    assert calls.requests.count(A) == 8  # at 0, 5, 15, 35, 75, 155, 315, 635 ms
    assert controller.results["error"] == 8
    assert controller.results["success"] == 1000


async def test_a_terminal_error_is_not_tried_again(clock: FakeClock) -> None:
    async def give_up(request: Request) -> None:
        raise TerminalError("the spec contradicts itself")

    calls = Calls(give_up)
    controller = Controller("pods", calls, clock=clock)
    controller.queue.add(A)
    async with running(controller):
        await clock.advance(2000)
    assert calls.requests == [A]
    assert controller.results["terminal_error"] == 1


async def test_a_conflict_is_tried_again(clock: FakeClock) -> None:
    async def lose_the_first_race(request: Request) -> None:
        if len(calls.requests) == 1:
            raise Conflict("the object has been modified")

    calls = Calls(lose_the_first_race)
    controller = Controller("pods", calls, clock=clock)
    controller.queue.add(A)
    async with running(controller):
        await clock.advance(1)
    assert calls.requests == [A, A]


async def test_a_server_that_asks_to_wait_is_not_asked_before(clock: FakeClock) -> None:
    times = []

    async def refused(request: Request) -> None:
        times.append(clock.monotonic())
        if len(times) == 1:
            raise TooManyRequests("later", details=StatusDetails(retry_after_seconds=60))

    controller = Controller("test", Calls(refused), clock=clock)
    controller.queue.add(A)
    async with running(controller):
        await clock.advance(59)
        assert times == [0]
        await clock.advance(14)
        assert len(times) == 2


async def test_a_reconciler_that_meets_a_cancelled_task_fails_and_its_worker_goes_on(clock: FakeClock) -> None:
    async def waits_for_what_is_cancelled(request: Request) -> None:
        if request == A and calls.requests.count(A) == 1:
            task = asyncio.create_task(asyncio.Event().wait())
            task.cancel()
            await task

    calls = Calls(waits_for_what_is_cancelled)
    controller = Controller("test", calls, clock=clock)
    controller.queue.add(A)
    controller.queue.add(B)
    async with running(controller):
        await clock.advance(1)
        assert calls.requests == [A, B, A]
        assert controller.results == {"error": 1, "success": 2}


async def test_a_reconcile_that_hangs_is_cut_off_and_tried_again(clock: FakeClock) -> None:
    async def hang_at_first(request: Request) -> None:
        if len(calls.requests) == 1:
            await asyncio.Event().wait()

    calls = Calls(hang_at_first)
    controller = Controller("pods", calls, clock=clock, reconcile_timeout=10)
    controller.queue.add(A)
    async with running(controller):
        await clock.advance(9)
        assert controller.active_workers == 1
        await clock.advance(2)
    assert calls.requests == [A, A]


async def test_workers_share_the_work_but_never_a_key(clock: FakeClock) -> None:
    working: list[Request] = []
    most = 0

    async def work(request: Request) -> None:
        nonlocal most
        assert request not in working
        working.append(request)
        most = max(most, len(working))
        await clock.sleep(1)
        working.remove(request)

    controller = Controller("pods", Calls(work), clock=clock, workers=3)
    for request in (A, B, Request("default", "c"), Request("default", "d")):
        controller.queue.add(request)
    async with running(controller):
        await clock.advance(0.5)
        controller.queue.add(A)
        await clock.advance(10)
    assert most == 3
    assert controller.results["success"] == 5


async def test_stopping_finishes_what_is_in_work_and_starts_nothing(clock: FakeClock) -> None:
    finished = []

    async def slow(request: Request) -> None:
        await clock.sleep(5)
        finished.append(request)

    controller = Controller("pods", Calls(slow), clock=clock)
    controller.queue.add(A)
    controller.queue.add(B)
    task = asyncio.create_task(controller.run())
    await clock.advance(1)
    controller.stop()
    await clock.advance(1)
    assert not task.done()
    await clock.advance(5)
    assert task.done()
    assert finished == [A]


def a_pod(owner: str = "", *, kind: str = "EchoJob", api_version: str = "example.com/v1", **metadata: object) -> Pod:
    references = [OwnerReference(api_version=api_version, kind=kind, name=owner, uid="1", controller=True)]
    meta = {"name": "pod", "namespace": "default", "owner_references": references if owner else [], **metadata}
    return Pod(metadata=ObjectMeta(**meta))  # type: ignore[arg-type]


class TestHandlers:
    def test_the_object_itself(self) -> None:
        assert list(enqueue_object(Change(a_pod(), None))) == [Request("default", "pod")]

    def test_the_owner_by_kind_and_group_whatever_its_version(self) -> None:
        handler = enqueue_owner(Pod)
        assert list(handler(Change(None, a_pod("x", kind="Pod", api_version="v1")))) == [Request("default", "x")]
        assert list(handler(Change(None, a_pod("x", kind="Pod", api_version="other/v1")))) == []
        assert list(handler(Change(None, a_pod()))) == []

    def test_both_owners_when_an_object_changes_hands(self) -> None:
        old, new = a_pod("x", kind="Pod", api_version="v1"), a_pod("y", kind="Pod", api_version="v1")
        assert [request.name for request in enqueue_owner(Pod)(Change(old, new))] == ["x", "y"]

    def test_no_owner_that_does_not_control(self) -> None:
        reference = OwnerReference(api_version="v1", kind="Pod", name="x", uid="x", controller=False)
        owned = Pod(metadata=ObjectMeta(name="pod", namespace="default", owner_references=(reference,)))
        assert list(enqueue_owner(Pod)(Change(None, owned))) == []

    def test_what_a_function_says_of_the_old_state_and_the_new_each_request_once(self) -> None:
        handler = enqueue_mapped(
            lambda pod: [Request("default", "all"), Request("default", pod.metadata.labels["app"])]
        )
        change = Change(a_pod(labels={"app": "old"}), a_pod(labels={"app": "new"}))
        assert [request.name for request in handler(change)] == ["all", "old", "new"]


class TestPredicates:
    def test_generation_and_resource_version(self) -> None:
        old, new = a_pod(generation=1, resource_version="5"), a_pod(generation=1, resource_version="6")
        assert not generation_changed(Change(old, new))
        assert generation_changed(Change(None, new))
        assert generation_changed(Change(new, new, True)), "a replay is no change, and says nothing of one"
        assert resource_version_changed(Change(old, new))
        assert not resource_version_changed(Change(new, new, True))

    def test_labels_before_or_after(self) -> None:
        labelled, plain = a_pod(labels={"app": "x"}), a_pod()
        matches = labels_match("app=x")
        assert matches(Change(labelled, plain))
        assert matches(Change(plain, labelled))
        assert not matches(Change(plain, plain))

    def test_composition(self) -> None:
        def yes(change: Change[Pod]) -> bool:
            return True

        change = Change(None, a_pod())
        assert all_of(yes, yes)(change)
        assert not all_of(yes, negate(yes))(change)
        assert any_of(negate(yes), yes)(change)


async def test_an_author_s_function_that_raises_does_not_stop_the_others(clock: FakeClock) -> None:
    """A handler is called by the informer, which must go on."""
    from kfcore.cache.informer import Informer
    from kfcore.testing import FakeClient

    def broken(change: Change[Pod]) -> list[Request]:
        raise KeyError("label")

    informer = Informer(FakeClient(clock=clock), Pod, clock=clock)
    bad, good = Controller("bad", Calls(), clock=clock), Controller("good", Calls(), clock=clock)
    bad.watch(informer, broken)
    good.watch(informer, enqueue_object)
    informer.set(a_pod())
    assert len(good.queue) == 1
