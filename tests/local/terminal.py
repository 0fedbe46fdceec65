"""A terminal in a test: a command that runs on it, and what a person would see there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence

from patience import PATIENCE

_SEQUENCE = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[[\d;?]*[a-zA-Z]|(\n)|(\r)|([^\x1b\r\n]+)")


def shown(text: str) -> list[str]:
    """The lines that stand on a terminal of endless height when `text` has been written to it."""
    lines, row = [""], 0
    for match in _SEQUENCE.finditer(text):
        count, code, newline, _, plain = match.groups()
        if plain:
            lines[row] += plain
        elif newline:
            row += 1
            if row == len(lines):
                lines.append("")
        elif code == "F":
            row -= int(count or 1)
        elif code == "J":
            lines[row:] = [""]
    return lines


class Terminal:
    """Runs a command on a terminal of its own; what it writes is in `written`."""

    def __init__(
        self, command: Sequence[str], *, columns: int = 100, lines: int = 30, env: Mapping[str, str] | None = None
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        settings = termios.tcgetattr(theirs)
        settings[3] |= termios.NOFLSH  # Ctrl-C would take away what was written and is not read yet
        termios.tcsetattr(theirs, termios.TCSANOW, settings)
        environment = {**(env or os.environ), "TERM": "xterm-256color"}

        def own_the_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY)

        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, preexec_fn=own_the_terminal
        )
        os.close(theirs)
        self.written = ""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def until(self, condition: Callable[[str], bool], seconds: float = PATIENCE) -> None:
        """Read on until what was written satisfies the condition."""
        deadline = time.monotonic() + seconds
        while not condition(self.written):
            self._in_time(deadline)
            if not self._read(0.2) and self.process.poll() is not None and not self._read(0):
                assert condition(self.written), self.written

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code; everything is read then."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            self._read(0.1)
            self._in_time(deadline)
        while self._read(0):
            pass
        os.close(self._ours)
        return self.process.wait()

    def _in_time(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            self.process.terminate()  # it takes with it what it runs
            raise AssertionError(self.written)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._ours], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # nobody has the other end any more
            return False
        self.written += data.decode(errors="replace")
        return bool(data)
