"""Whether pods have namespaces of their own: as asked for, and as this machine permits; found by making them."""

from __future__ import annotations

import sys
from pathlib import Path

from kfcore_local.isolation.hub_client import Hub, NotIsolated
from kfcore_local.isolation.mode import Isolation


async def start_hub(asked: Isolation, base: Path) -> tuple[Hub | None, str]:
    """A hub that serves; or none, and why, unless that was asked for. Raises NotIsolated when nothing else will do."""
    if asked is Isolation.NONE:
        return None, ""
    try:
        if sys.platform != "linux":
            raise NotIsolated("namespaces are Linux's")
        hub = Hub(base)
        await hub.start()
    except NotIsolated as error:
        if asked is Isolation.POD:
            raise NotIsolated(
                f"pods cannot be isolated on this machine: {error}; --isolation none does without"
            ) from error
        return None, str(error)
    return hub, ""
