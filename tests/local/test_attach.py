"""Attaching to a container that was started to be talked to: what it has said already is not lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from one_machine import POD, Machine, a_container, a_pod, running
from patience import eventually

from kfcore.clock import SystemClock

ASKS = 'echo "who is there?"; read name; echo "hello $name"'


class Client:
    """Somebody at the other end, who types one line."""

    tty, has_stdin = False, True

    def __init__(self, line: bytes) -> None:
        self._line = line
        self.heard = b""

    async def read_stdin(self) -> bytes:
        line, self._line = self._line, b""
        return line

    async def next_size(self) -> tuple[int, int]:
        await asyncio.Event().wait()
        raise AssertionError("there is no terminal")

    async def write(self, stream: str, data: bytes) -> None:
        self.heard += data


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with running(tmp_path / "kubelet", SystemClock()) as machine:
        yield machine


@pytest.mark.parametrize(("once", "heard"), [(True, b"who is there?\nhello me\n"), (False, b"hello me\n")])
async def test_the_first_client_hears_what_was_said_before_it_came(machine: Machine, once: bool, heard: bytes) -> None:
    await machine.create(a_pod("pod", a_container("sh", "-c", ASKS, stdin=True, stdinOnce=once)))
    await machine.until_phase("pod", "Running")

    async def has_asked() -> bool:
        return "who is there?" in await machine.log("pod")

    await eventually(has_asked)
    client = Client(b"me\n")
    pod = (await machine.client.get(POD, "pod", "default")).raw
    assert await machine.kubelet.attach(pod, "main", client) == 0
    assert client.heard == heard


class Slow(Client):
    """Takes nothing before it is told to."""

    def __init__(self) -> None:
        super().__init__(b"")
        self.has_stdin = False
        self.is_called = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def write(self, stream: str, data: bytes) -> None:
        self.is_called.set()
        await self.goes_on.wait()
        await super().write(stream, data)


async def test_a_client_that_is_slower_than_the_container_loses_nothing(machine: Machine) -> None:
    size = 5_000_000
    script = f"read go; head -c {size} /dev/zero; echo end"
    await machine.create(a_pod("pod", a_container("sh", "-c", script, stdin=True)))
    pod = await machine.until_phase("pod", "Running")
    slow = Slow()
    attached = asyncio.create_task(machine.kubelet.attach(pod, "main", slow))
    other = Client(b"go\n")
    listening = asyncio.create_task(machine.kubelet.attach(pod, "main", other))
    await slow.is_called.wait()

    async def is_behind() -> bool:
        return len(other.heard) > 1_000_000

    await eventually(is_behind)
    assert not attached.done()
    slow.goes_on.set()
    assert await attached == await listening == 0
    assert len(slow.heard) == len(other.heard) == size + len("end\n")


class Leaving(Client):
    """Goes away when it hears of stdout, while it still has not taken stderr."""

    def __init__(self) -> None:
        super().__init__(b"")
        self.has_stdin = False
        self.cancelled = False
        self.has_stderr = asyncio.Event()

    async def write(self, stream: str, data: bytes) -> None:
        if stream == "stdout":
            await self.has_stderr.wait()
            raise ConnectionResetError
        self.has_stderr.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def test_nothing_goes_on_for_a_client_of_a_command_that_has_gone(machine: Machine) -> None:
    await machine.create(a_pod("pod", a_container("sleep", "1000")))
    pod = await machine.until_phase("pod", "Running")
    leaving = Leaving()
    with pytest.raises(ConnectionResetError):
        await machine.kubelet.execute(pod, "main", ["sh", "-c", "echo out; echo err >&2; sleep 1000"], leaving)
    assert leaving.cancelled
