"""What a container printed, as `kubectl logs` gets it back."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from kfcore.clock import SystemClock
from kfcore_local.container_log import BLOCK, ContainerLog, Selection


@pytest.fixture
async def log(tmp_path: Path) -> ContainerLog:
    return ContainerLog(tmp_path / "0.log", SystemClock())


async def text(log: ContainerLog, **selection: object) -> bytes:
    return b"".join([chunk async for chunk in log.read(Selection(**selection))])  # type: ignore[arg-type]


async def test_every_byte_comes_back(log: ContainerLog) -> None:
    written = [b"one\n", b"10%\r20%\r", b"done\n\n", bytes(range(256)), b"no line feed"]
    for piece in written:
        log.write("stdout", piece)
    assert await text(log) == b"".join(written)


async def test_the_tail_counts_lines_not_pieces(log: ContainerLog) -> None:
    log.write("stdout", b"first\nsecond ")
    log.write("stdout", b"goes on\nthird\n")
    assert await text(log, tail=2) == b"second goes on\nthird\n"
    assert await text(log, tail=0) == b""
    assert await text(log, tail=9) == b"first\nsecond goes on\nthird\n"


@pytest.mark.parametrize("lines", [1, 2, 999, 5000])
async def test_the_tail_of_a_long_log(log: ContainerLog, lines: int) -> None:
    written = [f"line {number} {'x' * (number % 97)}\n".encode() for number in range(5000)]
    for line in written:
        log.write("stdout", line)
    assert log.path.stat().st_size > 3 * BLOCK
    assert await text(log, tail=lines) == b"".join(written[-lines:])


async def test_a_line_has_one_timestamp(log: ContainerLog) -> None:
    log.write("stdout", b"half ")
    log.write("stdout", b"and half\n")
    time, _, line = (await text(log, timestamps=True)).partition(b" ")
    assert line == b"half and half\n"
    assert time.endswith(b"Z")
    assert len(time) == len("2024-01-31T09:30:00.123456000Z")


async def test_since_leaves_out_what_is_older(log: ContainerLog) -> None:
    log.write("stderr", b"here\n")
    assert await text(log, since=SystemClock().now() - timedelta(seconds=9)) == b"here\n"
    assert await text(log, since=SystemClock().now() + timedelta(seconds=9)) == b""


async def test_a_limit_cuts_between_bytes(log: ContainerLog) -> None:
    log.write("stdout", b"123456789\n")
    assert await text(log, limit=4) == b"1234"


async def test_following_gets_lines_as_they_come_and_ends_with_the_container(log: ContainerLog) -> None:
    log.write("stdout", b"before\n")
    chunks = log.read(Selection(follow=True))
    assert await anext(chunks) == b"before\n"
    waiting = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    log.write("stderr", b"after")
    assert await waiting == b"after"
    log.close()
    assert [chunk async for chunk in chunks] == []
