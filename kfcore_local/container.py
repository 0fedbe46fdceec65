"""One attempt of a container as a real process: a command in, a supervised process with its output in a log, and how it
ended out. Which command, and whether to try again, is `pod_worker.py`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec
import structlog

from kfcore.clock import Clock
from kfcore_local.container_log import ContainerLog
from kfcore_local.launcher import PLAIN, Descriptors, Launcher, StartFailed, Supervisor

__all__ = ["MARK", "Command", "ContainerProcess", "Exit", "StartFailed", "Stdio", "kill_marked"]

log = structlog.get_logger(__name__)

MARK = "KFCORE_CONTAINER"
"""The environment variable by which a container's processes are found when their supervisor was killed."""

_TERMINATE = b"T"
_KILL = b"K"
_MOST_EARLY = 64 * 1024
_OUTPUT_AFTER_EXIT = 1.0


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

    def __init__(self, command: Command, supervisor: Supervisor, orders: int, mark: str) -> None:
        self._command = command
        self._supervisor = supervisor
        self._orders: int | None = orders
        self._mark = mark
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._outputs: set[asyncio.Future[None]] = set()
        self._told = b""
        self._input: int | None = None
        self._terminal: int | None = None
        self._early: list[tuple[str, bytes]] | None = None
        self._early_bytes = 0
        self.listeners: set[Callable[[str, bytes], None]] = set()
        """Told of what the process prints, by stream, beside its log."""

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
        if tty:
            master, terminal = os.openpty()
            process = await cls._start_with(command, mark, Stdio(terminal, terminal, terminal, tty=True), [master])
            process._input = master if stdin else None
            process._terminal = master
            process._early = [] if keep else None
            process._collect(master, "stdout", output)
            return process
        in_read, in_write = os.pipe() if stdin else (os.open(os.devnull, os.O_RDONLY), None)
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        kept = [fd for fd in (in_write, out_read, err_read) if fd is not None]
        process = await cls._start_with(command, mark, Stdio(in_read, out_write, err_write), kept)
        process._input = in_write
        process._early = [] if keep else None
        process._collect(out_read, "stdout", output)
        process._collect(err_read, "stderr", output)
        return process

    @classmethod
    async def _start_with(cls, command: Command, mark: str, stdio: Stdio, kept: Sequence[int]) -> Self:
        """Spawn, giving the process's ends of its streams away, and ours (`kept`) up when it cannot be started."""
        try:
            return await cls.spawn(command, mark, stdio)
        except BaseException:
            for fd in kept:
                os.close(fd)
            raise
        finally:
            for fd in {stdio.stdin, stdio.stdout, stdio.stderr}:
                os.close(fd)

    @classmethod
    async def spawn(cls, command: Command, mark: str, stdio: Stdio) -> Self:
        """Start `command` on streams that remain the caller's to close, and to read. Raises StartFailed."""
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
            supervisor = command.launcher.launch(spec, mark, ends)
        except BaseException:
            for fd in (order_write, told_read):
                os.close(fd)
            raise
        finally:
            for fd in (order_read, told_write):
                os.close(fd)
        process = cls(command, supervisor, order_write, mark)
        asyncio.get_running_loop().add_reader(told_read, process._listen, told_read)
        try:
            await asyncio.shield(process._started)
        except BaseException:
            await process.kill()
            raise
        return process

    @property
    def supervisor_pid(self) -> int:
        return self._supervisor.pid

    @property
    def inside(self) -> Command:
        """The command that this was started with, to start others like it beside it: in its namespaces, if any."""
        return msgspec.structs.replace(self._command, launcher=self._command.launcher.beside(self._mark))

    @property
    def input(self) -> int | None:
        """Where its stdin is written to; None when it has none, or it was closed."""
        return self._input

    @property
    def terminal(self) -> int | None:
        """The other side of its terminal; None when it has none."""
        return self._terminal

    def _keep_early(self, stream: str, data: bytes) -> None:
        if self._early is not None:
            self._early.append((stream, data))
            self._early_bytes += len(data)
            if self._early_bytes > _MOST_EARLY:
                self._early = None  # it is not waiting for somebody to talk to

    def take_early(self) -> list[tuple[str, bytes]]:
        """What it has printed so far, for the first that asks, where it was to be kept."""
        early, self._early = self._early, None
        return early or []

    def close_input(self) -> None:
        """End its stdin. A terminal's goes on."""
        if self._input is not None and self._terminal is None:
            os.close(self._input)
            self._input = None

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

    def _collect(self, fd: int, stream: str, output: ContainerLog) -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        self._outputs.add(ended)

        def readable() -> None:
            try:
                data = os.read(fd, 65536)
            except OSError:
                data = b""  # a terminal that nobody has open any more
            if data:
                output.write(stream, data)
                self._keep_early(stream, data)
                for listener in tuple(self.listeners):
                    listener(stream, data)
            else:
                loop.remove_reader(fd)
                if fd == self._terminal:
                    self._input = self._terminal = None
                os.close(fd)
                ended.set_result(None)

        loop.add_reader(fd, readable)

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
        if self._outputs:
            await asyncio.wait(self._outputs, timeout=_OUTPUT_AFTER_EXIT)
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
