"""One attempt of a container as a real process: a command in, a supervised process with its output in a log, and how it
ended out. Which command, and whether to try again, is `pod_worker.py`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec
import structlog

from kfcore.clock import Clock
from kfcore_local.container_input import ContainerInput
from kfcore_local.container_log import ContainerLog
from kfcore_local.container_output import ContainerOutput
from kfcore_local.launcher import PLAIN, Descriptors, Launcher, StartFailed, Supervisor

__all__ = ["MARK", "Command", "ContainerProcess", "Exit", "StartFailed", "Stdio", "kill_marked"]

log = structlog.get_logger(__name__)

MARK = "KFCORE_CONTAINER"
"""The environment variable by which a container's processes are found when their supervisor was killed."""

_TERMINATE = b"T"
_KILL = b"K"


class Command(msgspec.Struct, frozen=True):
    """What to run, and by `launcher` where; as another `user`, given by its number, group and further groups."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    launcher: Launcher = PLAIN
    user: tuple[int, int, list[int]] | None = None


class Exit(msgspec.Struct, frozen=True):
    """How a process ended; `code` is 128 + `signal` when a signal ended it."""

    code: int
    signal: int = 0


class Stdio(msgspec.Struct, frozen=True):
    """File descriptors for a process to start with. `tty`: they are a terminal, to be the process's own."""

    stdin: int
    stdout: int
    stderr: int
    tty: bool = False


class ContainerProcess:
    """A running container. `await start(...)`, then `await wait()`; `stop` asks it to end, `kill` ends it."""

    def __init__(self, command: Command, mark: str, output: ContainerOutput | None = None) -> None:
        self.output = output
        """What it prints, unless whoever started it reads that."""
        self._command = command
        self._mark = mark
        self._supervisor: Supervisor
        self._orders: int | None = None
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._told = b""
        self._input: ContainerInput | None = None
        self._terminal: int | None = None

    @classmethod
    async def start(
        cls,
        command: Command,
        output: ContainerLog,
        mark: str,
        *,
        stdin: bool = False,
        tty: bool = False,
        keep: bool = False,
    ) -> Self:
        """Start `command` with its output in a log, and with an input or a terminal to attach to where they are
        wanted. `keep` what it prints for the first that attaches. Raises StartFailed.
        """
        collected = ContainerOutput(output, keep=keep)
        if tty:
            master, terminal = os.openpty()
            stdio = Stdio(terminal, terminal, terminal, tty=True)
            written = ContainerInput(master, terminal=True) if stdin else None
        else:
            in_read, in_write = os.pipe() if stdin else (os.open(os.devnull, os.O_RDONLY), None)
            out_read, out_write = os.pipe()
            err_read, err_write = os.pipe()
            stdio = Stdio(in_read, out_write, err_write)
            written = ContainerInput(in_write) if in_write is not None else None
        process = cls(command, mark, collected)
        process._input = written
        if tty:
            process._terminal = master
            collected.collect(master, "stdout", process._lose_terminal)
        else:
            collected.collect(out_read, "stdout")
            collected.collect(err_read, "stderr")
        try:
            process._launch(stdio)
        except BaseException:
            process.close_input()
            raise
        finally:
            for fd in {stdio.stdin, stdio.stdout, stdio.stderr}:
                os.close(fd)  # which ends what is collected, where nothing was started
        await process._until_started()
        return process

    @classmethod
    async def spawn(cls, command: Command, mark: str, stdio: Stdio) -> Self:
        """Start `command` on streams that remain the caller's to close, and to read. Raises StartFailed."""
        process = cls(command, mark)
        process._launch(stdio)
        await process._until_started()
        return process

    def _launch(self, stdio: Stdio) -> None:
        command, mark = self._command, self._mark
        spec = {
            "argv": list(command.argv),
            "env": {**command.env, MARK: mark},
            "cwd": command.cwd,
            "tty": stdio.tty,
            "user": command.user,
        }
        order_read, order_write = os.pipe()
        told_read, told_write = os.pipe()
        try:
            ends = Descriptors(order_read, told_write, stdio.stdin, stdio.stdout, stdio.stderr)
            self._supervisor = command.launcher.launch(spec, mark, ends)
        except BaseException:
            for fd in (order_write, told_read):
                os.close(fd)
            raise
        finally:
            for fd in (order_read, told_write):
                os.close(fd)
        self._orders = order_write
        asyncio.get_running_loop().add_reader(told_read, self._listen, told_read)

    async def _until_started(self) -> None:
        try:
            await asyncio.shield(self._started)
        except BaseException:
            await self.kill()
            raise

    @property
    def supervisor_pid(self) -> int:
        return self._supervisor.pid

    @property
    def inside(self) -> Command:
        """The command that this was started with, to start others like it beside it: in its namespaces, if any."""
        return msgspec.structs.replace(self._command, launcher=self._command.launcher.beside(self._mark))

    @property
    def input(self) -> ContainerInput | None:
        """Where its stdin is written to; None when it has none, or it was closed."""
        return self._input

    @property
    def terminal(self) -> int | None:
        """The other side of its terminal; None when it has none."""
        return self._terminal

    def close_input(self) -> None:
        """End its stdin. A terminal's goes on."""
        if self._input is not None and self._terminal is None:
            self._input.close()
            self._input = None

    def _lose_terminal(self) -> None:
        self._terminal = None
        self.close_input()

    async def wait(self) -> Exit:
        """Until every process of the container is gone and its output is in the log."""
        return await asyncio.shield(self._exit)

    async def stop(self, grace: float, clock: Clock) -> Exit:
        """SIGTERM to the command, and after `grace` seconds SIGKILL to everything."""
        self._order(_TERMINATE)
        try:
            async with clock.timeout(grace):
                return await self.wait()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> Exit:
        self._order(_KILL)
        return await self.wait()

    def _order(self, order: bytes) -> None:
        if self._orders is not None:
            try:
                os.write(self._orders, order)
            except OSError:
                log.debug("container.supervisor_gone", mark=self._mark)

    def _listen(self, fd: int) -> None:
        """What the supervisor tells; at the end of it, the supervisor is gone."""
        data = os.read(fd, 65536)
        self._told += data
        if not self._started.done() and b"\n" in self._told and self._told.startswith(b"started "):
            self._started.set_result(None)
        if not data:
            loop = asyncio.get_running_loop()
            loop.remove_reader(fd)
            os.close(fd)
            self._finish = loop.create_task(self._ended())

    async def _ended(self) -> None:
        await self._supervisor.gone()
        last = self._told.decode(errors="replace").strip().rpartition("\n")[2]
        what, _, detail = last.partition(" ")
        if what in {"started", ""}:
            log.warning("container.supervisor_killed", mark=self._mark, pid=self.supervisor_pid)
            await asyncio.to_thread(kill_marked, self._mark)
        if self.output is not None:
            await self.output.read_to_the_end()
        self.close_input()
        if self._orders is not None:
            os.close(self._orders)
            self._orders = None
        if not self._started.done():
            message = detail if what == "failed" else "the supervisor ended before the command was started"
            self._started.set_exception(StartFailed(message))
            self._started.exception()
        number = int(detail) if what in {"exited", "signaled"} else signal.SIGKILL
        self._exit.set_result(Exit(number) if what == "exited" else Exit(128 + number, int(number)))


def kill_marked(mark: str) -> None:
    """Kill every process of a container whose supervisor can no longer do it (Linux; found by their environment)."""
    wanted = f"{MARK}={mark}".encode()
    found = True
    while found:
        found = False
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                if wanted in entry.read_bytes().split(b"\0"):
                    os.kill(int(entry.parent.name), signal.SIGKILL)
                    found = True
            except (OSError, ValueError):
                continue
