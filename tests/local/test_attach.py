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
