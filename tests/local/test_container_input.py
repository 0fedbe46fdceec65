"""What is typed to a process: whole, in turns, and never to another file that has its descriptor's number by now."""

from __future__ import annotations

import asyncio
import os

from kfcore_local.container_input import ContainerInput

MUCH = 300_000


async def waits_for_room(given: ContainerInput, data: bytes) -> asyncio.Task[bool]:
    """A write that has filled the pipe."""
    writing = asyncio.create_task(given.write(data))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not writing.done()
    return writing


async def test_two_that_write_at_once_are_both_taken_whole() -> None:
    read, write = os.pipe()
    given = ContainerInput(write)
    writers = [await waits_for_room(given, letter * MUCH) for letter in (b"a", b"b")]
    taken = b""
    while len(taken) < 2 * MUCH:
        taken += await asyncio.to_thread(os.read, read, 65536)
    assert taken == b"a" * MUCH + b"b" * MUCH
    assert await asyncio.gather(*writers) == [True, True]
    given.close()
    os.close(read)


async def test_an_input_that_is_closed_under_a_writer_leaves_the_next_file_of_its_number_alone() -> None:
    read, write = os.pipe()
    given = ContainerInput(write)
    writing = await waits_for_room(given, b"x" * MUCH)
    given.close()
    assert os.dup(read) == write  # as the next connection that is accepted has it
    readable = asyncio.Event()
    asyncio.get_running_loop().add_reader(write, readable.set)
    assert await writing is False
    await asyncio.wait_for(readable.wait(), 60)
    asyncio.get_running_loop().remove_reader(write)
    os.close(write)
    os.close(read)
