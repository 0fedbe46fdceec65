"""Never two leaders, whatever happens to one of them."""

import asyncio

import pytest

from kfcore.api.core import Lease
from kfcore.client.errors import ConnectionFailed
from kfcore.client.rest import RestClient
from kfcore.client.transport import Request, Response
from kfcore.controller.leader_election import LeaderElector, LeadershipLost, LeaseTiming
from kfcore.testing import FakeClient, FakeClock


class Cable:
    """A connection to the server that a test can pull."""

    def __init__(self, client: FakeClient) -> None:
        self.transport = client.transport
        self.plugged = True

    async def send(self, request: Request) -> Response:
        if not self.plugged:
            raise ConnectionFailed("network is unreachable")
        return await self.transport.send(request)

    def stream(self, request: Request):  # type: ignore[no-untyped-def]
        return self.transport.stream(request)

    async def close(self) -> None: ...


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(clock: FakeClock) -> FakeClient:
    return FakeClient(clock=clock)


def candidate(server: FakeClient, clock: FakeClock, identity: str) -> tuple[LeaderElector, Cable]:
    cable = Cable(server)
    elector = LeaderElector(RestClient(cable), clock, name="kfcore", namespace="default", identity=identity)
    return elector, cable


async def lead(elector: LeaderElector) -> None:
    await elector.acquire()
    await elector.keep()


async def test_the_first_leads_and_the_second_waits(server: FakeClient, clock: FakeClock) -> None:
    first, _ = candidate(server, clock, "first")
    second, _ = candidate(server, clock, "second")
    one = asyncio.create_task(lead(first))
    await clock.advance(0)
    two = asyncio.create_task(lead(second))
    await clock.advance(120)
    assert (first.is_leader, second.is_leader) == (True, False)
    lease = await server.get(Lease, "kfcore", "default")
    assert lease.spec.holder_identity == "first"
    one.cancel()
    two.cancel()


async def test_a_leader_without_connection_stops_before_another_starts(server: FakeClient, clock: FakeClock) -> None:
    first, cable = candidate(server, clock, "first")
    second, _ = candidate(server, clock, "second")
    one = asyncio.create_task(lead(first))
    await clock.advance(5)
    two = asyncio.create_task(lead(second))
    await clock.advance(5)
    cable.plugged = False
    for _ in range(60):
        await clock.advance(0.5)
        assert not (first.is_leader and second.is_leader)
    with pytest.raises(LeadershipLost, match="could not be renewed for 10 seconds"):
        await asyncio.wait_for(one, 60)
    assert second.is_leader
    assert (await server.get(Lease, "kfcore", "default")).spec.lease_transitions == 1
    two.cancel()


async def test_a_stolen_lease_is_noticed_at_the_next_renewal(server: FakeClient, clock: FakeClock) -> None:
    first, _ = candidate(server, clock, "first")
    one = asyncio.create_task(lead(first))
    await clock.advance(5)
    await server.patch(Lease, "kfcore", "default", {"spec": {"holderIdentity": "thief"}})
    await clock.advance(3)
    with pytest.raises(LeadershipLost, match="thief has the lease"):
        await asyncio.wait_for(one, 60)
    assert not first.is_leader


async def test_a_released_lease_is_taken_at_once(server: FakeClient, clock: FakeClock) -> None:
    first, _ = candidate(server, clock, "first")
    second, _ = candidate(server, clock, "second")
    await first.acquire()
    two = asyncio.create_task(lead(second))
    await clock.advance(1)
    await first.release()
    await clock.advance(3)
    assert second.is_leader
    two.cancel()


async def test_of_two_who_saw_the_lease_free_one_gets_it(server: FakeClient, clock: FakeClock) -> None:
    await server.create(Lease, {"metadata": {"name": "kfcore"}, "spec": {"holderIdentity": ""}}, "default")
    late = FakeClient(clock=clock, server=server.server)
    late.faults.delay("get", Lease, seconds=3)
    first = LeaderElector(late, clock, name="kfcore", namespace="default")
    second, _ = candidate(server, clock, "second")
    tasks = [asyncio.create_task(lead(first))]
    await clock.advance(1)
    tasks.append(asyncio.create_task(lead(second)))
    for _ in range(60):
        await clock.advance(0.5)
        assert (first.is_leader, second.is_leader) == (False, True)
    for task in tasks:
        task.cancel()


async def test_a_lease_of_a_machine_whose_clock_is_wrong_is_respected_while_it_is_renewed(
    server: FakeClient, clock: FakeClock
) -> None:
    spec = {"holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": "2001-01-01T00:00:00.000000Z"}
    await server.create(Lease, {"metadata": {"name": "kfcore"}, "spec": spec}, "default")
    second, _ = candidate(server, clock, "second")
    two = asyncio.create_task(lead(second))
    for number in range(10):
        await clock.advance(10)
        await server.patch(
            Lease, "kfcore", "default", {"spec": {"renewTime": f"2001-01-01T00:00:{number + 1:02}.000000Z"}}
        )
    assert not second.is_leader
    await clock.advance(20)
    assert second.is_leader
    two.cancel()


async def test_an_answer_that_comes_too_late_makes_no_leader(server: FakeClient, clock: FakeClock) -> None:
    """The server has given the lease away again when the first learns that it had it."""
    slow = FakeClient(clock=clock, server=server.server)
    slow.faults.delay("create", Lease, seconds=17)
    first = LeaderElector(slow, clock, name="kfcore", namespace="default")
    second, _ = candidate(server, clock, "second")
    tasks = [asyncio.create_task(lead(first))]
    await clock.advance(0)
    slow.faults.fail(None, Lease, times=None)
    tasks.append(asyncio.create_task(lead(second)))
    for _ in range(60):
        await clock.advance(0.5)
        assert not (first.is_leader and second.is_leader)
    assert second.is_leader
    for task in tasks:
        task.cancel()


async def test_a_leader_counts_from_when_it_asked_and_not_from_the_answer(server: FakeClient, clock: FakeClock) -> None:
    timing = LeaseTiming(duration=11, renew_deadline=10, retry_period=1)
    slow = FakeClient(clock=clock, server=server.server)
    first = LeaderElector(slow, clock, name="kfcore", namespace="default", timing=timing)
    second = LeaderElector(server, clock, name="kfcore", namespace="default", timing=timing)
    tasks = [asyncio.create_task(lead(first))]
    await clock.advance(0)
    tasks.append(asyncio.create_task(lead(second)))
    await clock.advance(5.5)
    late = slow.faults.delay("patch", Lease, seconds=4.5)
    await clock.advance(1)
    assert late.hits == 1
    slow.faults.fail(None, Lease, times=None)
    for _ in range(80):
        await clock.advance(0.25)
        assert not (first.is_leader and second.is_leader)
    assert second.is_leader
    for task in tasks:
        task.cancel()


async def test_one_renewal_that_hangs_does_not_cost_the_lease(server: FakeClient, clock: FakeClock) -> None:
    client = FakeClient(clock=clock, server=server.server)
    leader = LeaderElector(client, clock, name="kfcore", namespace="default")
    task = asyncio.create_task(lead(leader))
    await clock.advance(5)
    hung = client.faults.delay("get", Lease, seconds=600)
    await clock.advance(60)
    assert hung.hits == 1
    assert leader.is_leader
    task.cancel()


async def test_a_lease_that_somebody_deletes_stays_its_leader_s(server: FakeClient, clock: FakeClock) -> None:
    first, cable = candidate(server, clock, "first")
    second, _ = candidate(server, clock, "second")
    tasks = [asyncio.create_task(lead(elector)) for elector in (first, second)]
    await clock.advance(5)
    cable.plugged = False
    await server.delete(Lease, "kfcore", "default")
    for _ in range(10):
        await clock.advance(0.5)
        assert (first.is_leader, second.is_leader) == (True, False)
    cable.plugged = True
    await clock.advance(60)
    assert (first.is_leader, second.is_leader) == (True, False)
    for task in tasks:
        task.cancel()


async def test_who_gives_a_lease_back_does_not_wait_for_ever(server: FakeClient, clock: FakeClock) -> None:
    client = FakeClient(clock=clock, server=server.server)
    leader = LeaderElector(client, clock, name="kfcore", namespace="default")
    await leader.acquire()
    client.faults.delay("get", Lease, seconds=600)
    task = asyncio.create_task(leader.release())
    await clock.advance(6)
    assert task.done()
    assert not leader.is_leader


def test_two_processes_have_different_identities_unless_they_are_told_theirs() -> None:
    electors = [LeaderElector(FakeClient(), FakeClock(), name="kfcore", namespace="default") for _ in range(2)]
    assert electors[0].identity != electors[1].identity


def test_timing_that_would_allow_two_leaders_is_refused() -> None:
    with pytest.raises(ValueError, match="renew_deadline"):
        LeaseTiming(duration=10, renew_deadline=10)
