"""One measured figure beside its budget, and how it is timed."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`value` and `budget` in `unit`; smaller is better, unless `at_least`. Without a budget it is there to compare
    with, and without a value (None) it could not be measured: `unit` says why.
    """

    what: str
    value: float | None
    budget: float | None
    unit: str
    at_least: bool = False

    @property
    def kept(self) -> bool:
        if self.value is None or self.budget is None:
            return True
        return self.value >= self.budget if self.at_least else self.value <= self.budget


async def best_of(rounds: int, count: int, work: Callable[[], Awaitable[None]]) -> float:
    """Seconds for one of the `count` steps of a call of `work`: processor time, the best of `rounds`."""
    best = float("inf")
    for _ in range(rounds):
        gc.collect()
        began = time.process_time()
        await work()
        best = min(best, time.process_time() - began)
    return best / count


def table(figures: list[Figure]) -> str:
    rows = [("what", "measured", "budget", "")]
    for figure in figures:
        budget = "" if figure.budget is None else f"{'≥' if figure.at_least else '≤'} {figure.budget:g} {figure.unit}"
        rows.append((figure.what, _measured(figure), budget, "" if figure.kept else "over budget"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _measured(figure: Figure) -> str:
    if figure.value is None:
        return f"skipped: {figure.unit}"
    return f"{figure.value:.3g} {figure.unit}" if figure.value < 100 else f"{figure.value:,.0f} {figure.unit}"
