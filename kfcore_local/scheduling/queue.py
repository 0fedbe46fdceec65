"""The pods that wait for a node, and in what order their turn comes: by priority, then by age."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from kfcore_local.scheduling.kinds import SchedulablePod

Rank = tuple[int, float, str]


class PodQueue:
    """Pods whose turn it is, and such as were tried in vain and wait until something changes."""

    def __init__(self) -> None:
        self.waiting: dict[str, SchedulablePod] = {}
        self._heap: list[Rank] = []
        self._due: set[str] = set()
        self._wake = asyncio.Event()

    def add(self, pod: SchedulablePod) -> None:
        """Keep the pod as it is now. A new one's turn comes; one that was tried before keeps waiting, unless what
        decides about it has changed."""
        old = self.waiting.get(pod.key)
        self.waiting[pod.key] = pod
        if old is None or _identity(old) != _identity(pod):
            self._make_due(pod)

    def discard(self, pod: SchedulablePod) -> None:
        self.waiting.pop(pod.key, None)
        self._due.discard(pod.key)

    def try_all_again(self) -> None:
        for pod in self.waiting.values():
            self._make_due(pod)

    def try_again_if(self, concerned: Callable[[SchedulablePod], bool]) -> None:
        for pod in self.waiting.values():
            if concerned(pod):
                self._make_due(pod)

    def try_again(self, key: str) -> None:
        if key in self.waiting:
            self._make_due(self.waiting[key])

    def take(self, pod: SchedulablePod) -> None:
        """Its turn has been, with another one's."""
        self._due.discard(pod.key)

    async def next(self) -> SchedulablePod:
        """The pod whose turn it is."""
        while True:
            while self._heap:
                key = heapq.heappop(self._heap)[2]
                if key in self._due:
                    self._due.discard(key)
                    return self.waiting[key]
            self._wake.clear()
            await self._wake.wait()

    def _make_due(self, pod: SchedulablePod) -> None:
        if pod.key not in self._due:
            self._due.add(pod.key)
            heapq.heappush(self._heap, rank(pod))
            self._wake.set()


def rank(pod: SchedulablePod) -> Rank:
    created = pod.metadata.creation_timestamp
    return -pod.spec.priority, created.timestamp() if created else 0.0, pod.key


def _identity(pod: SchedulablePod) -> object:
    metadata = pod.metadata
    return metadata.uid, pod.spec, metadata.labels, metadata.annotations, metadata.deletion_timestamp
