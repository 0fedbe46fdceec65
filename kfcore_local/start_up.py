"""Before the imports of a command that starts a cluster: they are most of the time until it is ready."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from threading import Thread


def import_ahead() -> None:
    """Begin the imports that can be had for less.

    aiohttp reads the system's certificates, without Python's lock: beside the other imports, on another core.
    """
    # Hundreds of classes are made and nearly nothing is thrown away, so collecting at the usual pace finds nothing.
    gc.set_threshold(50_000, 20, 20)
    # No daemon: an interpreter that ends under an import may crash (bad input is told soon), so it waits for this.
    Thread(target=import_module, args=("aiohttp.web",)).start()
    _import_structlog()


def _import_structlog() -> None:
    """structlog imports rich for tracebacks in colours, when it is installed; kfcore's log has plain ones."""
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # the import system's own way to say that it is not there
    try:
        import_module("structlog")
    finally:
        del sys.modules["rich"]
