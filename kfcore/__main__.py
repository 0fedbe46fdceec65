"""The `kfcore` script, and `python -m kfcore`. Until a command has an ending of its own, an interrupt ends the process:
as an exception it would show where the imports were just then, or be lost in one of their callbacks.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it may be ignored, as in a script's background
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))
    from kfcore.cli import main as command

    command()


if __name__ == "__main__":
    main()
