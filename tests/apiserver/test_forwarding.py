"""Port-forward over a WebSocket with a channel for each port: what becomes of one is not that of the others."""

from __future__ import annotations

import asyncio
import socket
import struct

from kfcore.apiserver import channels

RESETS = struct.pack("ii", 1, 0)


class Client:
    protocol = channels.FORWARD_PROTOCOLS[0]

    def __init__(self) -> None:
        self.sent: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive(self) -> bytes | None:
        return await self.sent.get()

    async def send(self, message: bytes) -> None:
        await self.heard.put(message)


async def test_a_port_whose_connection_is_reset_ends_no_other() -> None:
    pod_ends: dict[int, socket.socket] = {}
    connected = asyncio.Event()

    async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        listening = socket.create_server(("127.0.0.1", 0))
        opened = socket.create_connection(listening.getsockname())
        pod_ends[port], _ = listening.accept()
        listening.close()
        if len(pod_ends) == 2:
            connected.set()
        return await asyncio.open_connection(sock=opened)

    client = Client()
    forwarding = asyncio.create_task(channels.forward(client, [8080, 9090], connect))
    for _ in range(4):
        await client.heard.get()
    await connected.wait()
    client.sent.put_nowait(b"\x00one")
    client.sent.put_nowait(b"\x02two")
    assert await asyncio.to_thread(pod_ends[8080].recv, 10) == b"one"
    assert await asyncio.to_thread(pod_ends[9090].recv, 10) == b"two"
    pod_ends[8080].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETS)
    pod_ends[8080].close()
    for number in range(10):  # the reset is found out by reading or by writing
        client.sent.put_nowait(b"\x00lost")
        client.sent.put_nowait(b"\x02%d" % number)
        assert await asyncio.to_thread(pod_ends[9090].recv, 10) == b"%d" % number
    pod_ends[9090].sendall(b"still here")
    assert await client.heard.get() == b"\x02still here"
    client.sent.put_nowait(None)
    await forwarding
    pod_ends[9090].close()
