"""What `kfcore local run` shows: conditions, every replica's lines behind its coloured name, and a closing summary.

Text for a person or a pipe, on standard output; nothing here knows the cluster.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import TextIO

from kfcore_local.screen import Screen

RESET = "\x1b[0m"
BOLD, DIM = "\x1b[1m", "\x1b[2m"
RED, GREEN, YELLOW = "\x1b[31m", "\x1b[32m", "\x1b[33m"
REPLICA_COLORS = ("\x1b[36m", "\x1b[35m", "\x1b[34m", "\x1b[33m", "\x1b[32m", "\x1b[96m", "\x1b[95m", "\x1b[94m")
CONDITION_COLORS = {
    "Running": GREEN,
    "Succeeded": BOLD + GREEN,
    "Failed": BOLD + RED,
    "Restarting": YELLOW,
    "Waiting": YELLOW,
}

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
_METRIC = re.compile(r"(?<![^\s,;|(\[])([A-Za-z][\w.-]*)=([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?%?)(?=$|[\s,;)\]])")


def wants_color(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether escape codes may go to `stream`: it is a terminal, and neither NO_COLOR nor TERM=dumb speaks against."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def metrics_in(line: str) -> dict[str, str]:
    """The numbers that a log line reports as `name=value`: `epoch=3 loss=0.21` → {"epoch": "3", "loss": "0.21"}."""
    return dict(_METRIC.findall(line))


def last_state(line: str) -> str:
    """Of a progress bar, which overwrites itself, what stands there at last."""
    return line.rstrip("\r\n").rpartition("\r")[2]


def plain(line: str) -> str:
    """A line without escape codes and other characters that move a cursor."""
    return "".join(char if char.isprintable() else " " for char in _ESCAPE.sub("", last_state(line)))


class Console:
    """Lines to a stream, in colour where it is a terminal.

    `prefixes` are the names that will stand before log lines, for one width and one colour each.
    """

    def __init__(self, stream: TextIO, *, color: bool | None = None) -> None:
        self.stream = stream
        self.screen: Screen | None = None
        """Where lines go instead of the stream, while it shows something below them."""
        self.color = wants_color(stream) if color is None else color
        self._bar = "│" if "utf" in (stream.encoding or "").lower() else "|"
        self._colors: dict[str, str] = {}
        self._width = 0

    def expect(self, prefixes: Iterable[str]) -> None:
        """Give every prefix its colour, and all of them one width."""
        for prefix in prefixes:
            self._colors.setdefault(prefix, REPLICA_COLORS[len(self._colors) % len(REPLICA_COLORS)])
            self._width = max(self._width, len(prefix))

    def say(self, text: str, style: str = "") -> None:
        self._write(f"{self._styled(text, style)}\n")

    def condition(self, job: str, condition: str, message: str) -> None:
        """`digits  Running  PyTorchJob digits is running.`"""
        self._write(f"{job}  {self._styled(condition, CONDITION_COLORS.get(condition, BOLD))}  {message}\n")

    def log(self, prefix: str, line: str) -> None:
        """One line of a replica; of a progress bar, its last state. Without colours its own escape codes go too."""
        self.expect([prefix])
        text = last_state(line)
        if not self.color:
            text = _ESCAPE.sub("", text)
        elif "\x1b" in text:
            text += RESET
        name = self._styled(f"{prefix:<{self._width}} {self._bar}", self._colors[prefix])
        self._write(f"{name} {text}".rstrip(" ") + "\n")

    def _styled(self, text: str, style: str) -> str:
        return f"{style}{text}{RESET}" if style and self.color else text

    def _write(self, text: str) -> None:
        encoding = self.stream.encoding or "utf-8"
        text = text.encode(encoding, "replace").decode(encoding)
        if self.screen is not None:
            self.screen.write(text)
            return
        self.stream.write(text)
        self.stream.flush()
