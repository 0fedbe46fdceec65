"""How a container's supervisor comes to run: a command and file descriptors go in, a process that has them comes out.

`PlainLauncher` starts it beside kfcore, with all that this machine has; `isolation/` has one that starts it in a pod's
namespaces. `container.py` speaks with the supervisor afterwards and need not know which it was.
"""

from __future__ import annotations

import asyncio
import marshal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUPERVISOR = Path(__file__).with_name("supervisor.py")


class StartFailed(Exception):
    """The command could not be started; the message says why, in the container runtime's words."""


class Descriptors(msgspec.Struct, frozen=True):
    """The supervisor's ends: orders come in by one, what it tells goes out by the other; the rest is the command's."""

    orders: int
    told: int
    stdin: int
    stdout: int
    stderr: int


class Supervisor(Protocol):
    @property
    def pid(self) -> int:
        """All other processes of the container are below it. 0 while it is not known yet."""
        ...

    async def gone(self) -> None:
        """Until it is reaped; asked for when it has closed its descriptors."""
        ...


class Launcher(Protocol):
    def launch(self, spec: Mapping[str, Any], mark: str, descriptors: Descriptors) -> Supervisor:
        """Start a supervisor, named `mark`, for the command of `spec` (`argv`, `env`, `cwd`, `tty`, `user`).
        Descriptors remain the caller's to close. Raises StartFailed.
        """
        ...

    def beside(self, mark: str) -> Launcher:
        """A launcher of commands in the container `mark`, which this one has started."""
        ...


class _OwnChild:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def gone(self) -> None:
        await asyncio.to_thread(self._process.wait)


class PlainLauncher:
    """Processes of this machine, without namespaces of their own."""

    def launch(self, spec: Mapping[str, Any], mark: str, descriptors: Descriptors) -> Supervisor:
        with written(spec) as file:
            fds = (file, descriptors.stdin, descriptors.stdout, descriptors.stderr)
            try:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(SUPERVISOR), *map(str, fds)],
                    stdin=descriptors.orders,
                    stdout=descriptors.told,
                    pass_fds=fds,
                    env={},
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                raise StartFailed(f"cannot start the supervisor {sys.executable}: {error}") from error
        return _OwnChild(process)

    def beside(self, mark: str) -> PlainLauncher:
        return self


PLAIN = PlainLauncher()


@contextmanager
def written(spec: Mapping[str, Any]) -> Iterator[int]:
    """A descriptor of a file with `spec` in it, to be read from its start, while the block runs."""
    with tempfile.TemporaryFile() as file:
        file.write(marshal.dumps(dict(spec)))
        file.flush()
        file.seek(0)
        yield file.fileno()
