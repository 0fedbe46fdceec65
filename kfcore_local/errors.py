"""Where messages and logs of a command go: standard error, and above the board while one is on the same terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kfcore_local.screen import Screen


class ErrorStream:
    """What `print` and a logger need of a file."""

    def __init__(self) -> None:
        self.screen: Screen | None = None

    def write(self, text: str) -> int:
        if self.screen is not None and sys.stderr.isatty():
            self.screen.write(text)
            return len(text)
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()
