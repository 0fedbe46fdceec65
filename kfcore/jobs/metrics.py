"""The counters of jobs under the training operator's names. They count what a written status says for the first time,
so that neither a restart of the operator nor a conflict counts anything twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kfcore.api.jobs import JobStatus
from kfcore.jobs.status import CREATED, FAILED, SUCCEEDED

if TYPE_CHECKING:
    from prometheus_client.core import Metric

COUNTERS = {
    "created": "Jobs created",
    "deleted": "Jobs deleted at the end of their time to live",
    "successful": "Jobs that succeeded",
    "failed": "Jobs that failed",
    "restarted": "Times at which replicas of jobs were created again",
}


class JobMetrics:
    """What became of the jobs, by framework and namespace; one for all controllers of a process."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def written(self, framework: str, namespace: str, old: JobStatus, new: JobStatus) -> None:
        """A status was written over another."""
        for type, name in ((CREATED, "created"), (SUCCEEDED, "successful"), (FAILED, "failed")):
            if new.is_true(type) and not old.is_true(type):
                self.count(name, framework, namespace)
        for replica_type, restarts in new.restarts.items():
            before = old.restarts.get(replica_type)
            if before is None or before.last_time != restarts.last_time:
                self.count("restarted", framework, namespace)

    def count(self, name: str, framework: str, namespace: str) -> None:
        self._counts[name, framework, namespace] += 1

    def collect(self) -> Iterator[Metric]:
        """Prometheus' collector interface."""
        from prometheus_client.core import CounterMetricFamily

        for name, text in COUNTERS.items():
            family = CounterMetricFamily(f"training_operator_jobs_{name}", text, labels=["job_namespace", "framework"])
            for (counted, framework, namespace), count in sorted(self._counts.items()):
                if counted == name:
                    family.add_metric([namespace, framework], count)
            yield family
