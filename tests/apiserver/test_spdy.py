"""Exec over SPDY, with a client that takes its time: kubectl opens the streams one after another."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Sequence

import pytest

from kfcore.api.meta import Manifest
from kfcore.apiserver import spdy
from kfcore.apiserver.http import HttpServer
from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore.apiserver.streaming import Streams

TOKEN = "a-token-for-tests"
POD = "/api/v1/namespaces/default/pods/p"
ERROR, STDOUT, STDERR = 1, 3, 5


class Kubelet:
    """Runs every command as one that says a line, and ends."""

    def __init__(self) -> None:
        self.commands: list[Sequence[str]] = []

    async def execute(self, pod: Manifest, container: str, command: Sequence[str], streams: Streams) -> int:
        self.commands.append(command)
        await streams.write("stdout", b"said\n")
        await streams.write("stderr", b"oops\n")
        return 3

    async def attach(self, pod: Manifest, container: str, streams: Streams) -> int:
        raise AssertionError("nobody attaches")

    async def connect(self, pod: Manifest, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        raise AssertionError("nobody forwards")


class Client:
    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = host
        self._reader = reader
        self._writer = writer
        self._deflate = zlib.compressobj(zdict=spdy.DICTIONARY)
        self._frames = spdy.Reader()

    async def upgrade(self, query: str) -> bytes:
        """Ask for an exec; the head of the answer."""
        head = [
            f"POST {POD}/exec?{query} HTTP/1.1",
            f"Host: {self._host}",
            f"Authorization: Bearer {TOKEN}",
            "Connection: Upgrade",
            "Upgrade: SPDY/3.1",
            "X-Stream-Protocol-Version: v4.channel.k8s.io",
        ]
        self._writer.write("\r\n".join([*head, "", ""]).encode())
        return await self._reader.readuntil(b"\r\n\r\n")

    def open(self, number: int, type_: str) -> None:
        pair = b"".join(struct.pack(">I", len(word)) + word for word in (b"streamtype", type_.encode()))
        block = self._deflate.compress(struct.pack(">I", 1) + pair) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        body = struct.pack(">IIH", number, 0, 0) + block
        self._writer.write(struct.pack(">II", 0x80030001, len(body)) + body)

    async def frame(self) -> spdy.Frame | None:
        """The next one; None when the server hung up."""
        while data := await self._reader.read(8):
            data += await self._reader.readexactly(int.from_bytes(data[5:8]))
            for frame in self._frames.feed(data):
                return frame
        return None

    async def echo(self) -> None:
        """Come back when the server has read whatever was sent so far."""
        self._writer.write(spdy.ping_frame(1))
        frame = await self.frame()
        assert frame is not None
        assert frame.type == spdy.PING

    async def output(self) -> dict[int, bytes]:
        """Of each stream, until the server says goodbye."""
        data: dict[int, bytes] = {}
        while (frame := await self.frame()) is not None and frame.type != spdy.GOAWAY:
            if frame.type is None:
                data[frame.stream] = data.get(frame.stream, b"") + frame.data
        return data

    def leave(self) -> None:
        self._writer.write(spdy.goaway_frame())

    def hang_up(self) -> None:
        self._writer.close()


@pytest.fixture
def kubelet() -> Kubelet:
    return Kubelet()


@pytest.fixture
async def client(kubelet: Kubelet) -> AsyncIterator[Client]:
    api = ApiServer(pod_processes=kubelet)
    body = b'{"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}}'
    path, _, _ = POD.rpartition("/")
    assert (await api.handle(Request("POST", path, {}, {"content-type": "application/json"}, body))).status == 201
    http = HttpServer(api, token=TOKEN)
    await http.start()
    _, _, address = http.url.rpartition("//")
    host, _, port = address.partition(":")
    client = Client(address, *await asyncio.open_connection(host, int(port)))
    yield client
    client.hang_up()
    await http.stop()
    await api.close()


async def test_a_command_that_ends_at_once_loses_no_output_to_a_client_that_is_slow(
    client: Client, kubelet: Kubelet
) -> None:
    assert b" 101 " in await client.upgrade("command=true&stdout=true&stderr=true")
    client.open(ERROR, "error")
    await client.echo()
    client.open(STDOUT, "stdout")
    await client.echo()
    assert kubelet.commands == []
    client.open(STDERR, "stderr")
    output = await client.output()
    assert (output[STDOUT], output[STDERR]) == (b"said\n", b"oops\n")
    assert b"exit status 3" in output[ERROR]


async def test_a_terminal_has_no_stream_for_errors(client: Client) -> None:
    await client.upgrade("command=true&stdout=true&stderr=true&tty=true")
    for number, type_ in ((ERROR, "error"), (STDOUT, "stdout"), (STDERR, "resize")):
        client.open(number, type_)
    output = await client.output()
    assert output[STDOUT] == b"said\n"


async def test_a_client_that_leaves_before_its_streams_are_open_has_started_nothing(
    client: Client, kubelet: Kubelet
) -> None:
    await client.upgrade("command=true&stdout=true&stderr=true")
    client.open(ERROR, "error")
    await client.echo()
    client.leave()
    assert await client.frame() is None
    assert kubelet.commands == []
