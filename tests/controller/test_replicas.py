"""Several processes of one operator: never two active at once, and each stops as its platform asks."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

from fleet import Fleet, FleetReconciler, a_fleet, pod_names, serve_fleets

from kfcore.api.core import Event, Lease, Pod
from kfcore.api.meta import untyped
from kfcore.api.resource import Resource
from kfcore.client.errors import ConnectionFailed, InternalError
from kfcore.controller.leader_election import LeaderElector, LeadershipLost
from kfcore.controller.manager import Manager
from kfcore.pytest_plugin import RunningApiServer
from kfcore.testing import FakeClient, FakeClock

ConfigMap = untyped(Resource("", "v1", "ConfigMap", "configmaps"))


class SkewedClock(FakeClock):
    """Shows another time of day than `clock`, and shares its timers."""

    def __init__(self, clock: FakeClock, skew: timedelta) -> None:
        self._clock, self._skew = clock, skew
        self.call_later = clock.call_later  # type: ignore[method-assign]
        self.sleep = clock.sleep  # type: ignore[method-assign]
        self.timeout = clock.timeout  # type: ignore[method-assign]
        self.monotonic = clock.monotonic  # type: ignore[method-assign]

    def now(self) -> datetime:
        return self._clock.now() + self._skew


class Stage:
    """Who is acting; two at once are what must not be."""

    def __init__(self) -> None:
        self.acting: set[str] = set()
        self.turns: list[str] = []

    def enter(self, identity: str) -> None:
        self.acting.add(identity)
        if self.turns[-1:] != [identity]:
            self.turns.append(identity)
        assert len(self.acting) == 1, f"{self.acting} act at once"


class Replica:
    """A process that comes back when it ends, as a Deployment's pods do."""

    def __init__(self, identity: str, user: FakeClient, clock: FakeClock, skew: timedelta, stage: Stage) -> None:
        self.client = FakeClient(clock=clock, server=user.server)
        self.manager: Manager | None = None
        self._identity, self._clock, self._stage = identity, clock, stage
        self._skewed = SkewedClock(clock, skew)

    async def run(self) -> None:
        while True:
            elector = LeaderElector(
                self.client, self._skewed, name="fleets", namespace="default", identity=self._identity
            )
            manager = Manager(
                self.client, clock=self._skewed, leader_election=elector, sync_timeout=3600, grace_period=5
            )
            FleetReconciler.add_to(manager)
            manager.add_runnable(self._act)
            with suppress(LeadershipLost):
                await manager.run()
            await self._clock.sleep(1)

    async def _act(self) -> None:
        """Acts all the time, as the leader alone may."""
        try:
            while True:
                self._stage.enter(self._identity)
                await self._clock.sleep(0.25)
        finally:
            self._stage.acting.discard(self._identity)


async def test_of_two_replicas_never_two_are_active_whatever_happens_to_the_lease(
    random_seed: int, fake_clock: FakeClock
) -> None:
    dice = random.Random(random_seed)
    user, stage = FakeClient(clock=fake_clock), Stage()
    serve_fleets(user)
    replicas = [
        Replica(f"replica-{number}", user, fake_clock, timedelta(seconds=dice.uniform(-90, 90)), stage)
        for number in range(2)
    ]
    tasks = [asyncio.create_task(replica.run()) for replica in replicas]
    sizes = {}
    for step in range(30):
        sizes[f"fleet-{step}"] = 1
        await user.create(Fleet, a_fleet(f"fleet-{step}", 1))
        faults = dice.choice(replicas).client.faults
        match dice.randrange(7):
            case 0:
                faults.fail(None, Lease, dice.choice([ConnectionFailed("reset"), InternalError("oops")]), times=8)
            case 1:
                faults.fail("patch", Lease, ConnectionFailed("reset"), times=3, carried_out=True)
            case 2:
                await _steal(user)
            case 3:
                faults.fail(None, None, ConnectionFailed("cut off"), times=None)
                faults.cut()
            case 4:
                faults.delay(None, Lease, seconds=dice.uniform(1, 30), times=3)
            case _:
                faults.clear()
        await fake_clock.advance(dice.uniform(0, 12))
        assert not any(task.done() for task in tasks), "two were active"
    for replica in replicas:
        replica.client.faults.clear()
    await fake_clock.advance(400)
    assert not any(task.done() for task in tasks)
    assert stage.turns, "somebody acted"
    wanted = sorted(name for fleet, size in sizes.items() for name in pod_names(fleet, size))
    assert [pod.name for pod in await user.list(Pod, "default")] == wanted
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _steal(user: FakeClient) -> None:
    leases = await user.list(Lease, "default")
    if leases:
        await user.patch(Lease, "fleets", "default", {"spec": {"holderIdentity": "a-thief"}})


OPERATOR = """
import asyncio, os, sys
from kfcore.api.core import Pod
from kfcore.api.meta import untyped
from kfcore.api.resource import Resource
from kfcore.client.cluster import ClusterClient
from kfcore.clock import SystemClock
from kfcore.controller.leader_election import LeaderElector
from kfcore.controller.manager import Manager

ConfigMap = untyped(Resource("", "v1", "ConfigMap", "configmaps"))


class TwoSteps:
    def __init__(self, manager):
        self.manager = manager

    async def reconcile(self, request):
        client = self.manager.client
        pod = await self.manager.cache.get(Pod, request.name, request.namespace)
        await client.create(ConfigMap, {"metadata": {"name": "first"}}, request.namespace)
        print("in the middle", file=sys.stderr, flush=True)
        await asyncio.sleep(1)
        await client.create(ConfigMap, {"metadata": {"name": "second"}}, request.namespace)
        self.manager.recorder("two-steps").normal(pod, "Done", "both are there")


class Hangs(TwoSteps):
    async def reconcile(self, request):
        print("in the middle", file=sys.stderr, flush=True)
        await asyncio.Event().wait()


async def main():
    async with await ClusterClient.at(os.environ["URL"], token=os.environ["TOKEN"]) as client:
        lease = LeaderElector(client, SystemClock(), name="two-steps", namespace="default", identity="me")
        manager = Manager(client, leader_election=lease, grace_period=600)
        manager.add_controller((Hangs if os.environ.get("HANGS") else TwoSteps)(manager), Pod)
        manager.stop_on_signals()
        await manager.run()


asyncio.run(main())
"""


@asynccontextmanager
async def in_the_middle(api_server: RunningApiServer, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The operator as a process, in a reconcile."""
    async with await api_server.connect() as user:
        await user.create(Pod, {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "none"}]}})
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        OPERATOR,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "URL": api_server.url, "TOKEN": api_server.token, **environment},
    )
    assert process.stderr
    async with asyncio.timeout(240):
        assert await process.stderr.readline() == b"in the middle\n"
        yield process


async def test_sigterm_in_the_middle_of_a_reconcile_lets_it_finish(api_server: RunningApiServer) -> None:
    async with in_the_middle(api_server) as process:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    async with await api_server.connect() as user:
        assert [config.name for config in await user.list(ConfigMap, "default")] == ["first", "second"]
        assert [event.reason for event in await user.list(Event, "default")] == ["Done"]
        assert (await user.get(Lease, "two-steps", "default")).spec.holder_identity == ""


async def test_a_second_signal_ends_an_operator_whose_reconcile_hangs(api_server: RunningApiServer) -> None:
    async with in_the_middle(api_server, HANGS="yes") as process:
        process.send_signal(signal.SIGINT)
        while process.returncode is None:
            with suppress(ProcessLookupError):  # not by `send_signal`, which may take its end from who waits for it
                os.kill(process.pid, signal.SIGTERM)
            await asyncio.sleep(0.05)
        assert process.returncode in (-signal.SIGTERM, -signal.SIGINT)
