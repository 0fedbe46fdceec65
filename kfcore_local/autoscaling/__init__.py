"""Horizontal autoscaling: autoscalers and what containers use come in, sizes of their targets go out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from kfcore_local.autoscaling.autoscaler import AutoscalerReconciler
from kfcore_local.autoscaling.kinds import Autoscaler
from kfcore_local.usage import Owner, Usage

if TYPE_CHECKING:
    from kfcore.cache.informer import Change
    from kfcore.controller.manager import Manager

__all__ = ["add_autoscaler"]


def add_autoscaler(manager: Manager, usage: Callable[[], Mapping[Owner, Usage]]) -> None:
    """Let `manager` follow the autoscalers; `usage` is what containers were measured to use last."""
    recorder = manager.recorder("horizontal-pod-autoscaler")
    manager.add_controller(
        AutoscalerReconciler(manager.client, manager.cache, recorder, manager.clock, usage),
        Autoscaler,
        predicate=_asks_for_something_else,
        name="horizontalpodautoscaler",
    )


def _asks_for_something_else(change: Change[Autoscaler]) -> bool:
    """Not for its own status: it looks again when its time has come."""
    return change.old is None or change.new is None or change.old.spec != change.new.spec
