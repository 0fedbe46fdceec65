"""A histogram that costs a fraction of a microsecond to observe; `observability` renders it when it is asked to."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Self


class Histogram:
    """Counts per bucket. `bounds` are the buckets' upper ends, ascending; a last one without end is implied."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    @classmethod
    def of_seconds(cls) -> Self:
        """From 10 ns to 1,000 s in powers of ten, as controller-runtime's queue metrics have them."""
        return cls([10.0**exponent for exponent in range(-8, 4)])

    @classmethod
    def of_reconcile_seconds(cls) -> Self:
        """From 5 ms to 60 s, as controller-runtime's reconcile time has them."""
        steps = [5 * count for count in range(3, 11)]  # 0.15 to 0.5
        hundredths = [0.5, 1, 2.5, 5, 10, *steps, 60, 70, 80, 90, 100, 125, 150, 175, 200, 250, 300, 350, 400, 450]
        seconds = [5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60]
        return cls([*(value / 100 for value in hundredths), *seconds])

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, observations up to it), as the Prometheus text format has them."""
        total, rows = 0, []
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            total += count
            rows.append((bound, float(total)))
        return rows
