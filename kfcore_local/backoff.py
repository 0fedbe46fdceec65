"""How long a container waits before its next restart: not at all, then 10 seconds, doubling up to 5 minutes.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-restarts
"""

from __future__ import annotations

FIRST = 10.0
LONGEST = 300.0
FORGIVEN_AFTER = 600.0


class RestartBackoff:
    """The waits of one container, in seconds."""

    def __init__(self) -> None:
        self._next = 0.0

    def next(self, ran_for: float) -> float:
        """The wait after a run of `ran_for` seconds. A run of 10 minutes forgives the failures before."""
        if ran_for >= FORGIVEN_AFTER:
            self._next = 0.0
        wait = self._next
        self._next = min(max(wait * 2, FIRST), LONGEST)
        return wait
