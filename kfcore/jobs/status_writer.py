"""Writing what one reconcile found: one merge patch of what changed in a job's status, then counters and events of it.
What was written last is remembered for as long as the cache does not show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog

from kfcore.api.jobs import Job
from kfcore.cache.informer import Change
from kfcore.client.interface import Client
from kfcore.clock import Clock
from kfcore.jobs.expectations import LastWritten
from kfcore.jobs.held_counts import HeldCounts
from kfcore.jobs.metrics import JobMetrics
from kfcore.jobs.owned import Recorder

if TYPE_CHECKING:
    from kfcore.jobs.lifecycle import Pass

log = structlog.get_logger(__name__)

JobT = TypeVar("JobT", bound=Job[Any])


class StatusWriter(Generic[JobT]):
    """Writes the statuses of one controller's jobs. `framework` is the label of its counters."""

    def __init__(self, client: Client, recorder: Recorder, clock: Clock, metrics: JobMetrics, framework: str) -> None:
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._metrics = metrics
        self._framework = framework
        self._last_written: LastWritten[JobT] = LastWritten()
        self._held_counts = HeldCounts()

    def newest(self, read: JobT) -> JobT:
        """`read`, or what was written over it, where the cache does not show that yet."""
        return self._last_written.newest(read)

    def is_news(self, change: Change[JobT]) -> bool:
        """Whether a job changed by more than the status that was written here last."""
        return change.replay or change.new is None or not self._last_written.is_shown_by(change.new)

    def forget(self, key: str) -> None:
        """The job is gone, or not ours any more."""
        self._last_written.forget(key)
        self._held_counts.written(key)

    async def write(self, work: Pass[JobT], *, patient: bool = False) -> float | None:
        """Send what changed in the status, if anything did; then tell of it.

        Where `patient`, replica counts that changed alone are held back first; returns for how many seconds.
        """
        job, status = work.job, work.status
        patch = status.patch()
        only_counts = patch.keys() == {"replicaStatuses"} and not status.announcements
        if patient and only_counts and (wait := self._held_counts.wait(job.key, self._clock.monotonic())):
            return wait
        self._held_counts.written(job.key)
        if patch:
            body = {"metadata": {"uid": work.read.metadata.uid}, "status": patch}
            written = await self._client.patch(type(job), job.name, job.namespace, body, subresource="status")
            self._last_written.remember(work.read, written)
            self._metrics.written(self._framework, job.namespace, status.old, written.status)
            status.old = written.status
        for event in status.announcements:
            record = self._recorder.warning if event.type == "Warning" else self._recorder.normal
            record(job, event.reason, event.message)
            log.info("job.status", kind=status.kind, namespace=job.namespace, name=job.name, reason=event.reason)
        status.announcements.clear()
        return None
