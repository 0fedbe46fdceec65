"""Everything that a process runs: caches, controllers, election, event recorders and servers, started and stopped in
order. Nothing reconciles before every cache is filled, and nothing is interrupted that can finish in time.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal

import structlog

from kfcore.api.meta import Object
from kfcore.cache.cache import Cache
from kfcore.client.interface import Client
from kfcore.clock import Clock, SystemClock
from kfcore.controller.controller import Controller, Reconciler
from kfcore.controller.events import EventRecorder
from kfcore.controller.handlers import Handler, Request, enqueue_object, enqueue_owner
from kfcore.controller.leader_election import LeaderElector
from kfcore.controller.metrics_access import Certificate, Gatekeeper, TlsServer
from kfcore.controller.observability import Metrics, ObservabilityServer
from kfcore.controller.predicates import Predicate
from kfcore.controller.rate_limit import ExponentialBackoff

log = structlog.get_logger(__name__)

Runnable = Callable[[], Awaitable[None]]
Check = Callable[[], bool]


class Manager:
    """Runs controllers over one client and one cache.

    `namespaces` limits what is watched (None: all). `health_address` and `metrics_address` are `host:port`, or None for
    no such server; with `metrics_certificate`, metrics are served over TLS, and to those only whom the API server lets.
    With `leader_election`, controllers run only while this process holds the lease.
    """

    def __init__(
        self,
        client: Client,
        *,
        clock: Clock | None = None,
        namespaces: Sequence[str] | None = None,
        health_address: str | None = None,
        metrics_address: str | None = None,
        metrics_certificate: Certificate | None = None,
        leader_election: LeaderElector | None = None,
        sync_timeout: float = 120.0,
        grace_period: float = 25.0,
        cache: Cache | None = None,
    ) -> None:
        self.client = client
        self.clock = clock or SystemClock()
        self.cache = cache or Cache(client, self.clock, namespaces)
        self.metrics = Metrics()
        self.controllers: list[Controller] = []
        self._elector = leader_election
        self._sync_timeout = sync_timeout
        self._grace_period = grace_period
        self._recorders: dict[str, EventRecorder] = {}
        self._runnables: list[tuple[Runnable, bool]] = []
        self._checks: list[tuple[Literal["health", "readiness"], str, Check]] = []
        self._stop = asyncio.Event()
        self._ready = False
        self._working = False
        self._group: asyncio.TaskGroup | None = None
        self._event_writers: list[asyncio.Task[None]] = []
        self._servers = ObservabilityServer(
            health_address,
            metrics_address,
            metrics=self.metrics,
            why_unhealthy=lambda: self._failing("health"),
            why_not_ready=self._why_not_ready,
            tls=TlsServer(metrics_certificate) if metrics_certificate else None,
            gatekeeper=Gatekeeper(client, self.clock) if metrics_certificate else None,
        )
        self.metrics.watch_client(client)
        if leader_election:
            self.metrics.watch_leader(leader_election)

    @property
    def ports(self) -> dict[str, int]:
        """The ports of the running `health` and `metrics` servers."""
        return self._servers.ports

    def recorder(self, component: str) -> EventRecorder:
        """The recorder of a component's Events; this manager writes them out."""
        if component not in self._recorders:
            recorder = self._recorders[component] = EventRecorder(self.client, component, self.clock)
            self.metrics.watch_recorder(recorder)
            if self._group:
                self._write_events(self._group, recorder)
        return self._recorders[component]

    def add_controller(
        self,
        reconciler: Reconciler,
        kind: type[Object],
        *,
        owns: Sequence[type[Object]] = (),
        watches: Iterable[tuple[type[Object], Handler]] = (),
        predicate: Predicate | None = None,
        workers: int = 1,
        reconcile_timeout: float | None = None,
        name: str | None = None,
        gather_seconds: float = 0.0,
        backoff: ExponentialBackoff[Request] | None = None,
    ) -> Controller:
        """Reconcile objects of `kind` when they change (as far as `predicate` lets it pass), when an object of a kind
        in `owns` that they control does, and when a handler in `watches` says so. The changes of what they own are
        gathered for `gather_seconds` first; what failed is tried again as `backoff` says (by default after 5 ms, 10 ms
        … 1,000 s). Raises ValueError for a second controller of a name (that of the kind, if none is given), and
        RuntimeError when the manager runs already.
        """
        self._must_not_run()
        name = name or kind.resource.kind.lower()
        if any(controller.name == name for controller in self.controllers):
            raise ValueError(
                f"there is a controller {name!r} already: give this one a name, by which metrics tell them apart"
            )
        controller = Controller(
            name,
            reconciler,
            clock=self.clock,
            workers=workers,
            reconcile_timeout=reconcile_timeout,
            backoff=backoff,
        )
        controller.watch(self.cache.informer(kind), enqueue_object, predicate)
        for owned in owns:
            controller.watch(self.cache.informer(owned), enqueue_owner(kind), gather_seconds=gather_seconds)
        for watched, handler in watches:
            controller.watch(self.cache.informer(watched), handler)
        self.controllers.append(controller)
        self.metrics.watch_controller(controller)
        return controller

    def add_runnable(self, function: Runnable, *, needs_leadership: bool = True) -> None:
        """Run something beside the controllers, from when the caches are filled until the stop cancels it."""
        self._must_not_run()
        self._runnables.append((function, needs_leadership))

    def add_health_check(self, name: str, check: Check) -> None:
        """Have /healthz answer 503, upon which a cluster restarts the process, while `check` says no."""
        self._checks.append(("health", name, check))

    def add_readiness_check(self, name: str, check: Check) -> None:
        """Have /readyz answer 503 while `check` says no; it does before the caches are filled, and at the stop."""
        self._checks.append(("readiness", name, check))

    def stop(self) -> None:
        """Have `run` finish what is in work and return."""
        self._stop.set()

    def stop_on_signals(self, *signals: signal.Signals) -> None:
        """Stop at SIGTERM and SIGINT (or the given signals). The second ends the process at once."""
        loop = asyncio.get_running_loop()
        numbers = signals or (signal.SIGTERM, signal.SIGINT)

        def stop() -> None:
            self.stop()
            for number in numbers:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)

        for number in numbers:
            loop.add_signal_handler(number, stop)

    def _why_not_ready(self) -> str:
        if not self._ready:
            return "the caches are not filled yet, or the process is stopping"
        return self._failing("readiness")

    def _failing(self, what: Literal["health", "readiness"]) -> str:
        return "\n".join(f"{name} says no" for about, name, check in self._checks if about == what and not check())

    def _must_not_run(self) -> None:
        if self._group:
            raise RuntimeError("the manager runs already, and would never start this: add it before")

    async def run(self) -> None:
        """Run until `stop`.

        Raises `CacheNotSynced` when a kind cannot be listed in time, `LeadershipLost` when the lease is lost (whatever
        was running is cancelled at once), and what a runnable raises.
        """
        async with self._servers:
            try:
                await _unwrapped(self._run())
            finally:
                self._ready = False
        log.info("manager.stopped")

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            cache = group.create_task(self.cache.run(), name="cache")
            self._group = group
            for recorder in self._recorders.values():
                self._write_events(group, recorder)
            stopped = group.create_task(self._stop.wait())
            work = group.create_task(self._sync_and_work())
            await asyncio.wait([stopped, work], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            await self._wind_down(work)
            self._group = None
            for task in self._event_writers:
                task.cancel()
            await self._flush()
            cache.cancel()

    async def _sync_and_work(self) -> None:
        await self.cache.wait_for_sync(self._sync_timeout)
        log.info("manager.caches_synced")
        self._ready = True
        async with asyncio.TaskGroup() as group:
            helpers = [self._spawn(group, function) for function, leads in self._runnables if not leads]
            if self._elector:
                await self._elector.acquire()
                helpers.append(group.create_task(self._elector.keep(), name="leader election"))
            helpers += [self._spawn(group, function) for function, leads in self._runnables if leads]
            try:
                async with asyncio.TaskGroup() as workers:
                    for controller in self.controllers:
                        workers.create_task(controller.run(), name=controller.name)
                    self._working = True
                    log.info("manager.started", controllers=[controller.name for controller in self.controllers])
                    await self._stop.wait()
            finally:
                self._working = False
                for task in helpers:
                    task.cancel()

    def _spawn(self, group: asyncio.TaskGroup, function: Runnable) -> asyncio.Task[None]:
        async def run() -> None:
            await function()

        return group.create_task(run())

    def _write_events(self, group: asyncio.TaskGroup, recorder: EventRecorder) -> None:
        self._event_writers.append(group.create_task(recorder.run(), name=f"events of {recorder.component}"))

    async def _wind_down(self, work: asyncio.Task[None]) -> None:
        """Let the controllers finish what they have begun; cut it off when that takes too long."""
        self._ready = False
        for controller in self.controllers:
            controller.stop()
        if self._working and not work.done():
            try:
                async with self.clock.timeout(self._grace_period):
                    await asyncio.wait([work])
            except TimeoutError:
                log.warning("manager.cut_off", grace_period=self._grace_period)
        work.cancel()
        await asyncio.wait([work])
        if self._elector:
            await self._elector.release()  # nothing acts any more
        if not work.cancelled() and (error := work.exception()):
            raise error

    async def _flush(self) -> None:
        try:
            async with self.clock.timeout(5):
                for recorder in self._recorders.values():
                    await recorder.flush()
        except TimeoutError:
            log.warning("manager.events_not_written")


async def _unwrapped(work: Awaitable[Any]) -> None:
    """Raises the error inside a group of one, so that callers can catch it by its own type."""
    try:
        await work
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None
