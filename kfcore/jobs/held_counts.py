"""Replica counts that changed alone, with no condition, wait a little for each other: the pods of a large job start one
after the other, and the job's status is not written once for each. Lost with the process, which then writes at once.
"""

from __future__ import annotations

HOLD_SECONDS = 0.5


class HeldCounts:
    """By the key of a job: when its changed counts are to be written."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def wait(self, key: str, now: float) -> float:
        """For how many seconds the job's counts should still wait; 0 when they are to be written."""
        return max(0.0, self._due.setdefault(key, now + HOLD_SECONDS) - now)

    def written(self, key: str) -> None:
        """The job's status was written, or is of no concern any more."""
        self._due.pop(key, None)
