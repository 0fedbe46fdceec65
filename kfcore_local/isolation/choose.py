"""Whether pods have namespaces of their own: as asked for, and as this machine permits; found by making them."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path

from kfcore_local.isolation.hub_client import Hub, NotIsolated
from kfcore_local.isolation.network import GATEWAY, PREFIX


class Isolation(StrEnum):
    """`AUTO`: namespaces where this machine permits them; `POD`: those or nothing; `NONE`: plain processes."""

    AUTO = "auto"
    POD = "pod"
    NONE = "none"


async def start_hub(asked: Isolation, base: Path) -> tuple[Hub | None, str]:
    """A hub that serves; or none, and why. Raises NotIsolated when nothing else will do."""
    if asked is Isolation.NONE:
        return None, "as asked for"
    try:
        if sys.platform != "linux":
            raise NotIsolated("namespaces are Linux's")
        hub = Hub(base, GATEWAY, PREFIX)
        await hub.start()
    except NotIsolated as error:
        if asked is Isolation.POD:
            raise
        return None, str(error)
    return hub, ""
