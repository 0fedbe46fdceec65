"""What kubectl exec, attach and port-forward reach: a command beside a running container, its own streams, its ports.
The client's side of the streams (`kfcore.apiserver.streaming.Streams`) comes in; nothing that runs here outlives it.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Awaitable, Sequence
from contextlib import ExitStack, suppress

from kfcore.apiserver.streaming import Streams
from kfcore.client.errors import BadRequest, InternalError
from kfcore_local.container import Command, ContainerProcess, StartFailed, Stdio

_PIECE = 64 * 1024
_BEHIND = 1024
"""Pieces of output that wait for a client that attached, before it is let go."""
_END_OF_INPUT = b"\x04"


async def execute(command: Command, container: ContainerProcess, mark: str, streams: Streams) -> int:
    """Run `command` until it ends; its exit code. It ends with the container, and when this is cancelled."""
    with ExitStack() as ours:
        if streams.tty:
            master, terminal = os.openpty()
            ours.callback(os.close, master)
            stdio = Stdio(terminal, terminal, terminal, tty=True)
            sink, sources = (master if streams.has_stdin else None), {"stdout": master}
        else:
            stdin, sink = os.pipe() if streams.has_stdin else (os.open(os.devnull, os.O_RDONLY), None)
            (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe()
            ours.callback(os.close, out_read)
            ours.callback(os.close, err_read)
            stdio = Stdio(stdin, out_write, err_write)
            sources = {"stdout": out_read, "stderr": err_read}
        try:
            process = await ContainerProcess.spawn(command, mark, stdio)
        except StartFailed as error:
            if sink is not None and not streams.tty:
                os.close(sink)
            raise InternalError(f"Internal error occurred: error executing command in container: {error}") from error
        finally:
            for fd in {stdio.stdin, stdio.stdout, stdio.stderr}:
                os.close(fd)
        tasks: list[Awaitable[None]] = [_forward(source, stream, streams) for stream, source in sources.items()]
        beside = [asyncio.ensure_future(_end_with(container, process))]
        if streams.tty:
            beside.append(asyncio.ensure_future(_resize(sources["stdout"], streams)))
        if sink is not None:
            beside.append(asyncio.ensure_future(_feed(sink, streams, terminal=streams.tty)))
        try:
            await asyncio.gather(*tasks)
            return (await process.wait()).code
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await asyncio.shield(process.kill())


async def attach(process: ContainerProcess, streams: Streams, *, once: bool) -> int:
    """Pass on what the container prints from now on, and give it what the client types, until it ends; its exit code.

    `once`: the container's input ends with the first client that had it. Such a container was started to be talked to
    (`kubectl run -it`): that client sees what it has printed before, its first prompt for one. Raises BadRequest for a
    terminal that the container does not have.
    """
    if streams.tty and process.terminal is None:
        raise BadRequest("unable to use a TTY: the container did not allocate one")
    pieces: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue(_BEHIND)
    lost = False

    def listen(stream: str, data: bytes) -> None:
        put((stream, data))

    def put(piece: tuple[str, bytes] | None) -> None:
        nonlocal lost
        try:
            pieces.put_nowait(piece)
        except asyncio.QueueFull:
            lost = True

    beside = []
    if streams.has_stdin and process.input is not None:
        beside.append(asyncio.ensure_future(_feed_container(process, streams, once=once)))
    if process.terminal is not None:
        beside.append(asyncio.ensure_future(_resize(process.terminal, streams)))
    ending = asyncio.ensure_future(process.wait())
    ending.add_done_callback(lambda _: put(None))
    early = process.take_early()
    process.listeners.add(listen)
    try:
        for stream, data in early:
            await streams.write(stream, data)
        while not lost and (piece := await pieces.get()) is not None:
            await streams.write(*piece)
        if lost:
            raise InternalError("the client reads too slowly for what the container prints")
        return (await ending).code
    finally:
        process.listeners.discard(listen)
        for task in (*beside, ending):
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        if once and beside:
            process.close_input()


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
        await _ready(source, writing=False)
        try:
            data = os.read(source, _PIECE)
        except OSError:
            return  # a terminal that nobody has open any more
        if not data:
            return
        await streams.write(stream, data)


async def _feed(sink: int, streams: Streams, *, terminal: bool) -> None:
    """The client's input to a process, as fast as that takes it; `sink` is closed at the end, unless a terminal."""
    try:
        while data := await streams.read_stdin():
            if not await _write(sink, data):
                break
        else:
            if terminal:
                await _write(sink, _END_OF_INPUT)
    finally:
        if not terminal:
            os.close(sink)
    while await streams.read_stdin():
        pass  # nobody reads it any more, and its client must not wait


async def _feed_container(process: ContainerProcess, streams: Streams, *, once: bool) -> None:
    while data := await streams.read_stdin():
        if process.input is not None:
            await _write(process.input, data)
    if process.terminal is not None and process.input is not None:
        await _write(process.input, _END_OF_INPUT)
    elif once:
        process.close_input()


async def _write(sink: int, data: bytes) -> bool:
    """Whether all of it was taken."""
    os.set_blocking(sink, False)
    while data:
        try:
            data = data[os.write(sink, data) :]
        except BlockingIOError:
            await _ready(sink, writing=True)
        except OSError:
            return False
    return True


async def _resize(terminal: int, streams: Streams) -> None:
    import fcntl
    import termios

    while True:
        columns, rows = await streams.next_size()
        size = struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0)
        with suppress(OSError):
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)


async def _ready(fd: int, *, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    add(fd, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        remove(fd)
