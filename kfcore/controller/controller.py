"""Workers around a `Reconciler`: requests come in from the informers' changes, and come back when their time is due.

One key is worked on by one worker at a time, and what goes wrong with a key stays with it: it is tried again after a
growing delay, while all others go on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Protocol

import msgspec
import structlog

from kfcore.cache.informer import Change, Informer
from kfcore.client.errors import ApiError, Conflict, ConnectionFailed
from kfcore.clock import Clock, SystemClock
from kfcore.controller.handlers import Handler, Request
from kfcore.controller.histogram import Histogram
from kfcore.controller.predicates import Predicate
from kfcore.controller.rate_limit import ExponentialBackoff, jittered
from kfcore.controller.workqueue import Priority, QueueShutDown, WorkQueue

__all__ = ["Controller", "Reconciler", "Request", "Result", "TerminalError"]

log = structlog.get_logger(__name__)

# A worker that never has to wait still lets others run, at least this often (seconds).
TURN = 0.005


class Result(msgspec.Struct, frozen=True):
    """What a reconcile that went well asks for: to be called again in `requeue_after` seconds, or (None) only when
    something changes.
    """

    requeue_after: float | None = None


class TerminalError(Exception):
    """Raised by a reconcile that would fail again however often it is tried: it is not, until the object changes."""


class Reconciler(Protocol):
    """Brings the world closer to what an object asks for.

    It is level-based: told *which* object, never *what happened*. It may be called at any time, twice in a row, and
    after events were missed; it reads the present state and does what is missing. Raising means: try again later.
    """

    async def reconcile(self, request: Request) -> Result | None: ...


class Controller:
    """Runs `reconciler` for every request that its sources and its own results ask for."""

    def __init__(
        self,
        name: str,
        reconciler: Reconciler,
        *,
        clock: Clock | None = None,
        workers: int = 1,
        reconcile_timeout: float | None = None,
        queue: WorkQueue[Request] | None = None,
        backoff: ExponentialBackoff[Request] | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError(f"controller {name}: workers is {workers}, expected at least 1")
        self.name = name
        self.reconciler = reconciler
        self.workers = workers
        self.active_workers = 0
        self.results: Counter[str] = Counter()
        self.reconcile_seconds = Histogram.of_reconcile_seconds()
        self._clock = clock or SystemClock()
        self._timeout = reconcile_timeout
        self.queue: WorkQueue[Request] = queue or WorkQueue(
            self._clock, group_of=lambda request: request.namespace, backoff=backoff
        )
        self._stopping = False

    def watch(
        self,
        informer: Informer[Any],
        handler: Handler,
        predicate: Predicate | None = None,
        *,
        gather_seconds: float = 0.0,
    ) -> None:
        """Enqueue what `handler` makes of the informer's changes that `predicate` lets pass: at once, or
        `gather_seconds` after the first of several, so that they are seen in one reconcile.
        """

        def on_change(change: Change[Any]) -> None:
            try:
                if predicate is None or predicate(change):
                    priority = Priority.LOW if change.replay else Priority.NORMAL
                    for request in handler(change):
                        self.queue.add_after(request, 0 if change.replay else gather_seconds, priority)
            except Exception:  # an author's function: one object's failure must not be the others'
                log.exception("controller.handler_failed", controller=self.name, object=change.object.key)

        informer.subscribe(on_change)

    async def run(self) -> None:
        """Work until `stop`, then finish what is in work."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.workers):
                group.create_task(self._work(), name=f"{self.name} worker {number}")

    def stop(self) -> None:
        """Start no further reconcile; `run` returns when those in work are finished."""
        self._stopping = True
        self.queue.shut_down()

    async def _work(self) -> None:
        turn_started = self._clock.monotonic()
        while not self._stopping:
            try:
                request = await self.queue.get()
            except QueueShutDown:
                return
            if not self._stopping:
                await self._reconcile(request)
            self.queue.done(request)
            now = self._clock.monotonic()
            if now - turn_started > TURN:
                await asyncio.sleep(0)
                turn_started = self._clock.monotonic()

    async def _reconcile(self, request: Request) -> None:
        started = self._clock.monotonic()
        self.active_workers += 1
        outcome = "error"
        try:
            if self._timeout is None:
                result = await self.reconciler.reconcile(request)
            else:
                async with self._clock.timeout(self._timeout):
                    result = await self.reconciler.reconcile(request)
        except TerminalError as error:
            outcome = "terminal_error"
            self.queue.forget(request)
            log.error("reconcile.failed_for_good", controller=self.name, object=request.key, error=str(error))
        except Conflict as error:
            # Somebody else was faster: the cache will show it, and the next try starts from there.
            self.queue.add_rate_limited(request)
            log.info("reconcile.conflict", controller=self.name, object=request.key, error=str(error))
        except (ApiError, ConnectionFailed) as error:
            # The server's refusal says all: a traceback would only show the way through this library.
            asked = error.retry_after if isinstance(error, ApiError) else None
            self.queue.add_rate_limited(request, at_least=jittered(asked) if asked else 0.0)
            log.warning(
                "reconcile.refused",
                controller=self.name,
                object=request.key,
                error=f"{type(error).__name__}: {error}",
                request=next(iter(getattr(error, "__notes__", ())), "").removeprefix("the request was ") or None,
                failures=self.queue.failures(request),
            )
        except (Exception, asyncio.CancelledError) as error:  # the boundary: one key's failure must not be another's
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            self.queue.add_rate_limited(request)
            log.exception(
                "reconcile.failed",
                controller=self.name,
                object=request.key,
                failures=self.queue.failures(request),
            )
        else:
            self.queue.forget(request)
            if result is not None and result.requeue_after is not None:
                outcome = "requeue_after"
                self.queue.add_after(request, result.requeue_after)
            else:
                outcome = "success"
        finally:
            self.active_workers -= 1
            self.results[outcome] += 1
            self.reconcile_seconds.observe(self._clock.monotonic() - started)


def _is_cancelled() -> bool:
    """Whether it is this worker that was cancelled, and not something that its reconciler waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
