"""What kubectl exec, attach and port-forward reach: a command beside a running container, its own streams, its ports.
The client's side of the streams (`kfcore.apiserver.streaming.Streams`) comes in; nothing that runs here outlives it.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from kfcore.apiserver.streaming import Streams
from kfcore.client.errors import BadRequest, InternalError
from kfcore_local.container import Command, ContainerProcess, StartFailed, Stdio
from kfcore_local.container_input import ContainerInput
from kfcore_local.container_output import ContainerOutput

_PIECE = 64 * 1024
_MOST_BEHIND = 1024 * 1024
"""Bytes of output that wait for a client that attached, before the container waits for it."""
_PATIENCE = 60.0
"""Seconds in which such a client takes nothing, before it is let go: one that was stopped must not stop it for ever."""
_END_OF_INPUT = b"\x04"


async def execute(command: Command, container: ContainerProcess, mark: str, streams: Streams) -> int:
    """Run `command` until it ends; its exit code. It ends with the container, and when this is cancelled."""
    with ExitStack() as ours:
        if streams.tty:
            master, terminal = os.openpty()
            ours.callback(os.close, master)
            stdio = Stdio(terminal, terminal, terminal, tty=True)
            sink, sources = (ContainerInput(master, terminal=True) if streams.has_stdin else None), {"stdout": master}
        else:
            stdin, written = os.pipe() if streams.has_stdin else (os.open(os.devnull, os.O_RDONLY), None)
            sink = ContainerInput(written) if written is not None else None
            (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe()
            ours.callback(os.close, out_read)
            ours.callback(os.close, err_read)
            stdio = Stdio(stdin, out_write, err_write)
            sources = {"stdout": out_read, "stderr": err_read}
        try:
            process = await ContainerProcess.spawn(command, mark, stdio)
        except BaseException as error:
            if sink is not None:
                sink.close()
            if not isinstance(error, StartFailed):
                raise
            raise InternalError(f"Internal error occurred: error executing command in container: {error}") from error
        finally:
            for fd in {stdio.stdin, stdio.stdout, stdio.stderr}:
                os.close(fd)
        output = [asyncio.ensure_future(_forward(source, stream, streams)) for stream, source in sources.items()]
        beside = [asyncio.ensure_future(_end_with(container, process))]
        if streams.tty:
            beside.append(asyncio.ensure_future(_resize(lambda: sources["stdout"], streams)))
        if sink is not None:
            beside.append(asyncio.ensure_future(_feed(sink, streams, terminal=streams.tty)))
        try:
            await asyncio.gather(*output)
            return (await process.wait()).code
        finally:
            killing = asyncio.ensure_future(process.kill())
            for task in (*beside, *output):
                task.cancel()
            await asyncio.gather(*beside, *output, return_exceptions=True)
            await asyncio.shield(killing)


async def attach(process: ContainerProcess, streams: Streams, *, once: bool) -> int:
    """Pass on what the container prints from now on, and give it what the client types, until it ends; its exit code.

    `once`: the container's input ends with the first client that had it. Such a container was started to be talked to
    (`kubectl run -it`): that client sees what it has printed before, its first prompt for one. Raises BadRequest for a
    terminal that the container does not have.
    """
    if streams.tty and process.terminal is None:
        raise BadRequest("unable to use a TTY: the container did not allocate one")
    assert process.output is not None
    behind = _Behind(process.output)
    beside = []
    if streams.has_stdin and process.input is not None:
        beside.append(asyncio.ensure_future(_feed_container(process, streams, once=once)))
    if process.terminal is not None:
        beside.append(asyncio.ensure_future(_resize(lambda: process.terminal, streams)))
    ending = asyncio.ensure_future(process.wait())
    ending.add_done_callback(lambda _: behind.end())
    behind.begin()
    try:
        while (piece := await behind.next()) is not None:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await streams.write(*piece)
            except TimeoutError:
                raise InternalError("the client does not read what the container prints") from None
        return (await ending).code
    finally:
        behind.leave()
        for task in (*beside, ending):
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        if once and beside:
            process.close_input()


class _Behind:
    """What a container has printed and its client has not taken yet; when it becomes much, the container waits."""

    def __init__(self, output: ContainerOutput) -> None:
        self._output = output
        self._pieces: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._ended = False
        self._more = asyncio.Event()

    def begin(self) -> None:
        for stream, data in self._output.take_early():
            self._put(stream, data)
        self._output.listeners.add(self._put)

    def _put(self, stream: str, data: bytes) -> None:
        self._pieces.append((stream, data))
        self._bytes += len(data)
        if self._bytes > _MOST_BEHIND:
            self._output.hold(self)
        self._more.set()

    def end(self) -> None:
        self._ended = True
        self._more.set()

    async def next(self) -> tuple[str, bytes] | None:
        """None when the container has ended, and all is taken."""
        while not self._pieces:
            if self._ended:
                return None
            self._more.clear()
            await self._more.wait()
        stream, data = self._pieces.popleft()
        self._bytes -= len(data)
        if self._bytes <= _MOST_BEHIND // 2:
            self._output.release(self)
        return stream, data

    def leave(self) -> None:
        self._output.listeners.discard(self._put)
        self._output.release(self)


async def connect(addresses: Sequence[str], port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first address that takes one. Raises OSError with the last one's refusal."""
    *others, last = dict.fromkeys(addresses)
    for address in others:
        with suppress(OSError):
            return await asyncio.open_connection(address, port)
    return await asyncio.open_connection(last, port)


async def _end_with(container: ContainerProcess, process: ContainerProcess) -> None:
    await container.wait()
    await process.kill()


async def _forward(source: int, stream: str, streams: Streams) -> None:
    """What a process prints, as fast as the client takes it."""
    while True:
        await _ready(source)
        try:
            data = os.read(source, _PIECE)
        except BlockingIOError:
            continue
        except OSError:
            return  # a terminal that nobody has open any more
        if not data:
            return
        await streams.write(stream, data)


async def _feed(sink: ContainerInput, streams: Streams, *, terminal: bool) -> None:
    """The client's input to a process, as fast as that takes it, to its end."""
    try:
        while data := await streams.read_stdin():
            if not await sink.write(data):
                break
        else:
            if terminal:
                await sink.write(_END_OF_INPUT)
    finally:
        sink.close()
    while await streams.read_stdin():
        pass  # nobody reads it any more, and its client must not wait


async def _feed_container(process: ContainerProcess, streams: Streams, *, once: bool) -> None:
    while data := await streams.read_stdin():
        if process.input is not None:
            await process.input.write(data)
    if process.terminal is not None and process.input is not None:
        await process.input.write(_END_OF_INPUT)
    elif once:
        process.close_input()


async def _resize(terminal: Callable[[], int | None], streams: Streams) -> None:
    import fcntl
    import termios

    while True:
        columns, rows = await streams.next_size()
        size = struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0)
        if (there := terminal()) is not None:
            with suppress(OSError):
                fcntl.ioctl(there, termios.TIOCSWINSZ, size)


async def _ready(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(fd)
