"""How fast an autoscaler may go: windows over which recommendations count, and how much may change in a period. It
holds what was recommended and done lately; time comes in as a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from kfcore_local.autoscaling.kinds import DOWN_WINDOW, Autoscaler, Policy, Rules


class Pace(msgspec.Struct):
    """The recent past of one autoscaler. `uid` is its own: another one of its name starts anew."""

    uid: str
    recommended: list[tuple[float, int]] = msgspec.field(default_factory=list)
    changed: list[tuple[float, int]] = msgspec.field(default_factory=list)

    def stabilized(self, autoscaler: Autoscaler, current: int, wanted: int, now: float) -> int:
        """`wanted`, as far as all that was recommended in the windows agrees with it."""
        behavior = autoscaler.spec.behavior
        up = behavior.scale_up.stabilization_window_seconds or 0
        asked = behavior.scale_down.stabilization_window_seconds
        down = DOWN_WINDOW if asked is None else asked
        self.recommended = [entry for entry in self.recommended if now - entry[0] < max(up, down)]
        lowest = min([wanted, *(count for time, count in self.recommended if now - time < up)])
        highest = max([wanted, *(count for time, count in self.recommended if now - time < down)])
        self.recommended.append((now, wanted))
        return min(max(current, lowest), highest)

    def limited(self, autoscaler: Autoscaler, current: int, wanted: int, now: float) -> int:
        """As near to `wanted` as the policies let it come at once."""
        behavior = autoscaler.spec.behavior
        if wanted > current:
            return max(current, min(wanted, self._limit(behavior.scale_up, current, now, 1)))
        if wanted < current:
            return min(current, max(wanted, self._limit(behavior.scale_down, current, now, -1)))
        return wanted

    def note(self, change: int, now: float) -> None:
        """So many pods were added (or, below zero, removed)."""
        self.changed = [entry for entry in self.changed if now - entry[0] < 1800]
        self.changed.append((now, change))

    def _limit(self, rules: Rules, current: int, now: float, direction: int) -> int:
        if rules.select_policy == "Disabled":
            return current
        limits = [self._limit_of(policy, current, now, direction) for policy in rules.policies or [Policy()]]
        most = rules.select_policy != "Min"
        choose: Callable[[list[int]], int] = max if most == (direction > 0) else min
        return choose(limits)

    def _limit_of(self, policy: Policy, current: int, now: float, direction: int) -> int:
        recent = sum(change for time, change in self.changed if now - time < policy.period_seconds)
        start = current - recent
        if policy.type == "Pods":
            return start + direction * policy.value
        if direction > 0:
            return math.ceil(start * (1 + policy.value / 100))
        return math.floor(start * (1 - policy.value / 100))
