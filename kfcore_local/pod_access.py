"""The two ways in which the kubelet reaches into a running pod, for probes and hooks: a connection to one of its ports,
and a command in one of its containers. The pod's network and the container's launcher know how to get there.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from kfcore.clock import Clock
from kfcore_local import container_streams
from kfcore_local.container import Command, ContainerProcess
from kfcore_local.pod_network import PodNetwork, open_connection

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_MOST_OUTPUT = 10 * 1024


class Running(msgspec.Struct, frozen=True):
    """A container's process, and the command that others beside it are started like."""

    process: ContainerProcess
    command: Command
    container_id: str


async def dial(network: PodNetwork, uid: str, address: str, port: int) -> socket.socket:
    """To what listens at a pod's own address, as others would reach it: not at its loopback. Raises OSError."""
    told = network.port_of(uid, port)
    if told != port:
        with suppress(OSError):  # a program may have its port from elsewhere
            return await open_connection(network.open_socket(), address, told)
    return await open_connection(network.open_socket(), address, port)


async def connect(network: PodNetwork, uid: str, address: str, port: int) -> Connection:
    """As `dial`. Raises OSError."""
    return await asyncio.open_connection(sock=await dial(network, uid, address, port))


async def run_inside(
    running: Running, argv: Sequence[str], mark: str, clock: Clock, seconds: float | None
) -> tuple[int, str]:
    """Run a command in a container; its exit code and the start of its output. After `seconds` it is killed.

    Raises TimeoutError then, and InternalError when it cannot be started.
    """
    output = _Output()
    command = msgspec.structs.replace(running.command, argv=tuple(argv))
    async with clock.timeout(seconds):
        code = await container_streams.execute(command, running.process, f"{running.container_id}/{mark}", output)
    return code, bytes(output.data).decode(errors="replace")


class _Output(msgspec.Struct):
    """Takes what a command prints, as `kfcore.apiserver.streaming.Streams` of nobody who types."""

    tty: bool = False
    has_stdin: bool = False
    data: bytearray = msgspec.field(default_factory=bytearray)

    async def read_stdin(self) -> bytes:
        return b""

    async def next_size(self) -> tuple[int, int]:
        await asyncio.Event().wait()
        raise AssertionError("there is no terminal")

    async def write(self, stream: str, data: bytes) -> None:
        self.data += data[: max(0, _MOST_OUTPUT - len(self.data))]
