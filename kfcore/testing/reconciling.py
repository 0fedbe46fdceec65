"""One reconcile, by hand: what a controller's worker would do with one key."""

from __future__ import annotations

from typing import Protocol

from kfcore.controller.controller import Reconciler, Request, Result


class _Flushable(Protocol):
    async def flush(self) -> None: ...


async def reconcile(reconciler: Reconciler, key: str) -> Result:
    """Reconcile `namespace/name` (a cluster-scoped object: `name`) once, and wait for the events that it recorded."""
    namespace, _, name = key.rpartition("/")
    result = await reconciler.reconcile(Request(namespace, name))
    recorder: _Flushable | None = getattr(reconciler, "recorder", None)
    if recorder is not None:
        await recorder.flush()
    return result or Result()
