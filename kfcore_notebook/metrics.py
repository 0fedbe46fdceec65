"""Counters of notebooks under the upstream controller's names; plain numbers until somebody scrapes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from kfcore.api.meta import Unstructured
from kfcore_notebook.children import NAME_LABEL

if TYPE_CHECKING:
    from prometheus_client.core import Metric


class NotebookMetrics:
    """`stateful_sets` gives those that are there now, to count the notebooks that run."""

    def __init__(self) -> None:
        self.stateful_sets: Callable[[], Iterable[Unstructured]] = lambda: ()
        self._created: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._culled: Counter[tuple[str, str]] = Counter()
        self._culled_at: dict[tuple[str, str], float] = {}

    def created(self, namespace: str) -> None:
        self._created[namespace] += 1

    def create_failed(self, namespace: str) -> None:
        self._failed[namespace] += 1

    def culled(self, namespace: str, name: str, at: datetime) -> None:
        self._culled[namespace, name] += 1
        self._culled_at[namespace, name] = at.timestamp()

    def collect(self) -> Iterator[Metric]:
        """Prometheus' collector interface."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        running = GaugeMetricFamily("notebook_running", "Notebooks with a StatefulSet", labels=["namespace"])
        for namespace, count in sorted(Counter(_running(self.stateful_sets())).items()):
            running.add_metric([namespace], count)
        yield running
        for name, text, counts in (
            ("notebook_create", "StatefulSets created for notebooks", self._created),
            ("notebook_create_failed", "StatefulSets that could not be created", self._failed),
        ):
            family = CounterMetricFamily(name, text, labels=["namespace"])
            for namespace, count in sorted(counts.items()):
                family.add_metric([namespace], count)
            yield family
        culled = CounterMetricFamily("notebook_culling", "Times a notebook was stopped", labels=["namespace", "name"])
        at = GaugeMetricFamily(
            "last_notebook_culling_timestamp_seconds", "When it was stopped last", labels=["namespace", "name"]
        )
        for key, count in sorted(self._culled.items()):
            culled.add_metric(key, count)
            at.add_metric(key, self._culled_at[key])
        yield from (culled, at)


def _running(stateful_sets: Iterable[Unstructured]) -> Iterator[str]:
    for stateful_set in stateful_sets:
        metadata = stateful_set.raw["spec"]["template"].get("metadata") or {}
        if (metadata.get("labels") or {}).get(NAME_LABEL) == stateful_set.name:
            yield stateful_set.namespace
