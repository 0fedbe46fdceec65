"""What an operator shows of itself: metrics under controller-runtime's names, health and readiness, and its log.

The parts count in plain numbers; only a scrape turns them into Prometheus' text, so nobody pays who doesn't look.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar, runtime_checkable

import structlog

from kfcore.client.interface import Client
from kfcore.controller.controller import Controller
from kfcore.controller.events import EventRecorder
from kfcore.controller.histogram import Histogram
from kfcore.controller.http_server import Address, listen, parse_address
from kfcore.controller.leader_election import LeaderElector
from kfcore.controller.metrics_access import Gatekeeper, TlsServer

if TYPE_CHECKING:
    from aiohttp import web
    from prometheus_client.core import HistogramMetricFamily, Metric

_REFUSALS = {
    401: "say who you are: a bearer token that the API server knows",
    403: "the API server does not let you get /metrics",
    503: "the API server could not be asked whether you may",
}
OUTCOMES = ("success", "requeue_after", "error", "terminal_error")


@runtime_checkable
class CountsRequests(Protocol):
    """A transport that counts its answers by (code, method, host)."""

    @property
    def request_counts(self) -> Counter[tuple[str, str, str]]: ...


@runtime_checkable
class CountsRetries(Protocol):
    """A transport that counts its further tries by (code, method)."""

    @property
    def retry_counts(self) -> Counter[tuple[str, str]]: ...


class Source(Protocol):
    """Somebody who counts something of their own: Prometheus' collector interface."""

    def __init__(self) -> None: ...

    def collect(self) -> Iterable[Metric]: ...


SourceT = TypeVar("SourceT", bound=Source)


class Metrics:
    """Collects from whatever it was told to watch."""

    def __init__(self) -> None:
        self._controllers: list[Controller] = []
        self._recorders: list[EventRecorder] = []
        self._leader: LeaderElector | None = None
        self._transport: object = None
        self._sources: dict[type[Source], Source] = {}

    def watch_controller(self, controller: Controller) -> None:
        self._controllers.append(controller)

    def watch_recorder(self, recorder: EventRecorder) -> None:
        self._recorders.append(recorder)

    def watch_leader(self, elector: LeaderElector) -> None:
        self._leader = elector

    def watch_client(self, client: Client) -> None:
        self._transport = getattr(client, "transport", None)

    def source(self, kind: type[SourceT]) -> SourceT:
        """The one source of this class, made when first asked for; what it collects is shown too."""
        found = self._sources.setdefault(kind, kind())
        assert isinstance(found, kind)
        return found

    def render(self) -> bytes:
        """Prometheus' text format."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """Prometheus' collector interface."""
        yield from self._of_controllers()
        yield from self._of_queues()
        yield from self._of_the_rest()
        for source in self._sources.values():
            yield from source.collect()

    def _of_controllers(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        total = CounterMetricFamily(
            "controller_runtime_reconcile", "Reconciles per controller and result", labels=["controller", "result"]
        )
        errors = CounterMetricFamily(
            "controller_runtime_reconcile_errors", "Failed reconciles per controller", labels=["controller"]
        )
        terminal = CounterMetricFamily(
            "controller_runtime_terminal_reconcile_errors", "Reconciles that failed for good", labels=["controller"]
        )
        seconds = _histogram("controller_runtime_reconcile_time_seconds", "Duration of a reconcile", "controller")
        active = GaugeMetricFamily("controller_runtime_active_workers", "Workers in a reconcile", labels=["controller"])
        maximum = GaugeMetricFamily("controller_runtime_max_concurrent_reconciles", "Workers", labels=["controller"])
        for controller in self._controllers:
            name, results = [controller.name], controller.results
            for outcome in OUTCOMES:
                total.add_metric([*name, outcome], results[outcome])
            errors.add_metric(name, results["error"] + results["terminal_error"])
            terminal.add_metric(name, results["terminal_error"])
            _fill(seconds, name, controller.reconcile_seconds)
            active.add_metric(name, controller.active_workers)
            maximum.add_metric(name, controller.workers)
        yield from (total, errors, terminal, seconds, active, maximum)

    def _of_queues(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        labels = ["name", "controller"]
        depth = GaugeMetricFamily("workqueue_depth", "Keys that wait for a worker", labels=labels)
        adds = CounterMetricFamily("workqueue_adds", "Adds that made a key wait", labels=labels)
        retries = CounterMetricFamily("workqueue_retries", "Adds after a failure", labels=labels)
        waited = _histogram("workqueue_queue_duration_seconds", "Time a key waits for a worker", *labels)
        worked = _histogram("workqueue_work_duration_seconds", "Time a worker has a key", *labels)
        unfinished = GaugeMetricFamily(
            "workqueue_unfinished_work_seconds", "Age of all work in progress", labels=labels
        )
        longest = GaugeMetricFamily(
            "workqueue_longest_running_processor_seconds", "Age of the oldest work in progress", labels=labels
        )
        for controller in self._controllers:
            names, queue = [controller.name, controller.name], controller.queue
            depth.add_metric(names, len(queue))
            adds.add_metric(names, queue.adds)
            retries.add_metric(names, queue.retries)
            _fill(waited, names, queue.queue_seconds)
            _fill(worked, names, queue.work_seconds)
            total, maximum = queue.unfinished_seconds()
            unfinished.add_metric(names, total)
            longest.add_metric(names, maximum)
        yield from (depth, adds, retries, waited, worked, unfinished, longest)

    def _of_the_rest(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        labels = ["code", "method", "host"]
        requests = CounterMetricFamily("rest_client_requests", "Answers of the API server", labels=labels)
        retries = CounterMetricFamily(
            "rest_client_request_retries", "Requests sent again, by the answer that made it necessary", labels=labels
        )
        hosts: set[str] = set()
        if isinstance(self._transport, CountsRequests):
            for answer, count in self._transport.request_counts.items():
                requests.add_metric(answer, count)
                hosts.add(answer[2])
        if isinstance(self._transport, CountsRetries):
            for (code, method), count in self._transport.retry_counts.items():
                retries.add_metric([code, method, min(hosts, default="")], count)
        lost = CounterMetricFamily("kfcore_events_lost", "Events that could not be written", labels=["component"])
        for recorder in self._recorders:
            lost.add_metric([recorder.component], recorder.lost)
        yield from (requests, retries, lost)
        if self._leader:
            status = GaugeMetricFamily("leader_election_master_status", "1 while it leads", labels=["name"])
            status.add_metric([self._leader.name], float(self._leader.is_leader))
            yield status


class ObservabilityServer:
    """Serves /healthz, /readyz and /metrics while its block runs; addresses are `host:port`, None for not at all. What
    stands in the way of health or readiness is said in words, an empty text for nothing. With `tls` and a `gatekeeper`,
    the metrics are for those only whom the API server knows and lets.
    """

    def __init__(
        self,
        health_address: str | None,
        metrics_address: str | None,
        *,
        metrics: Metrics,
        why_unhealthy: Callable[[], str],
        why_not_ready: Callable[[], str],
        tls: TlsServer | None = None,
        gatekeeper: Gatekeeper | None = None,
    ) -> None:
        if tls and health_address and health_address == metrics_address:
            raise ValueError("metrics over TLS need an address of their own: the probes' is plain HTTP")
        self._health = parse_address(health_address) if health_address else None
        self._metrics_at = parse_address(metrics_address) if metrics_address else None
        self._metrics = metrics
        self._why_unhealthy = why_unhealthy
        self._why_not_ready = why_not_ready
        self._tls = tls
        self._gatekeeper = gatekeeper
        self._stack = AsyncExitStack()
        self.ports: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        if self._health or self._metrics_at:
            try:
                await self._start()
            except BaseException:
                await self._stack.aclose()
                raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        from aiohttp import web

        async def healthy(request: web.Request) -> web.Response:
            return _verdict(self._why_unhealthy())

        async def ready(request: web.Request) -> web.Response:
            return _verdict(self._why_not_ready())

        async def scrape(request: web.Request) -> web.Response:
            if self._tls:
                self._tls.refresh()
            if self._gatekeeper:
                status = await self._gatekeeper.check(request.headers.get("Authorization", ""), request.path)
                if status != 200:
                    return web.Response(status=status, text=_REFUSALS[status])
            return web.Response(body=self._metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"})

        health: dict[str, Callable[[web.Request], Any]] = {"/healthz": healthy, "/readyz": ready}
        metrics: dict[str, Callable[[web.Request], Any]] = {"/metrics": scrape}
        if self._health and self._health == self._metrics_at:
            await self._serve("health", self._health, {**health, **metrics})
            self.ports["metrics"] = self.ports["health"]
            return
        if self._health:
            await self._serve("health", self._health, health)
        if self._metrics_at:
            await self._serve("metrics", self._metrics_at, metrics, self._tls)

    async def _serve(
        self,
        name: str,
        address: Address,
        handlers: dict[str, Callable[[web.Request], Any]],
        tls: TlsServer | None = None,
    ) -> None:
        from aiohttp import web

        application = web.Application()
        for path, handler in handlers.items():
            application.router.add_get(path, handler)
        self.ports[name] = await listen(self._stack, name, address, application, tls)


def _verdict(why_not: str) -> web.Response:
    from aiohttp import web

    return web.Response(status=503, text=why_not) if why_not else web.Response(text="ok")


def configure_logging(level: str = "info", format: Literal["json", "console"] = "json") -> None:
    """Send structlog's and the standard library's records to standard error, one line each."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level {level!r}: expected debug, info, warning or error")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending: list[structlog.typing.Processor]
    if format == "json":
        ending = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        ending = [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_foreign(ending)))
    logging.basicConfig(level=max(number, logging.INFO), handlers=[handler], force=True)


def _foreign(ending: list[structlog.typing.Processor]) -> list[structlog.typing.Processor]:
    return [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending]


def _histogram(name: str, documentation: str, *labels: str) -> HistogramMetricFamily:
    from prometheus_client.core import HistogramMetricFamily

    return HistogramMetricFamily(name, documentation, labels=labels)


def _fill(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    family.add_metric(labels, histogram.cumulative(), histogram.sum)
