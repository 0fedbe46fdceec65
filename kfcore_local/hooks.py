"""A container's lifecycle hooks: a handler comes in, and why it did not go well comes out. When they run, and what
follows, is `container_runner.py`.
"""

from __future__ import annotations

from kfcore_local.handlers import Handler
from kfcore_local.probing import CannotProbe, Target


async def run_hook(target: Target, handler: Handler, name: str, seconds: float | None = None) -> str:
    """Empty when all went well. After `seconds` the hook is given up."""
    try:
        async with target.clock.timeout(seconds):
            finding = await target.look(handler, name, None)
    except CannotProbe as error:
        return str(error)
    except TimeoutError:
        return f"it took longer than the grace period of {seconds:.0f}s"
    return "" if finding.well else finding.message
