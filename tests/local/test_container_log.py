"""What a container printed, as `kubectl logs` gets it back."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from kfcore.clock import SystemClock
from kfcore_local import container_log
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


# ── rotation ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_log, "MOST_BYTES", 2000)


def files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def numbered(count: int) -> list[bytes]:
    return [f"line {number}\n".encode() for number in range(count)]


@pytest.mark.usefixtures("small_files")
async def test_a_long_log_is_read_as_one_from_its_files(log: ContainerLog, tmp_path: Path) -> None:
    lines = numbered(150)
    for line in lines:
        log.write("stdout", line)
    assert len(files(tmp_path)) > 2
    assert await text(log) == b"".join(lines)
    for tail in (1, 40, 120, 1000):
        assert await text(log, tail=tail) == b"".join(lines[-tail:])


@pytest.mark.usefixtures("small_files")
async def test_of_a_very_long_log_the_latest_five_files_stay(log: ContainerLog, tmp_path: Path) -> None:
    lines = numbered(2000)
    for line in lines:
        log.write("stdout", line)
    assert len(files(tmp_path)) == 5
    assert sum(file.stat().st_size for file in files(tmp_path)) <= 5 * 2100
    kept = (await text(log)).splitlines(keepends=True)
    assert kept == lines[-len(kept) :]
    assert len(kept) > 100


@pytest.mark.usefixtures("small_files")
async def test_a_reader_that_follows_goes_from_file_to_file(log: ContainerLog) -> None:
    lines = numbered(300)
    log.write("stdout", lines[0])
    reading = asyncio.create_task(text(log, follow=True))
    for line in lines[1:]:
        await asyncio.sleep(0)
        log.write("stdout", line)
        await asyncio.sleep(0)
    log.close()
    assert await reading == b"".join(lines)


@pytest.mark.usefixtures("small_files")
async def test_a_reader_whose_log_is_removed_comes_to_its_end(log: ContainerLog) -> None:
    for line in numbered(150):
        log.write("stdout", line)
    slow = log.read(Selection(follow=True))
    assert (await anext(slow)).startswith(b"line 0\n")
    log.close()
    log.remove()
    assert [chunk async for chunk in slow] == []
    assert await text(log) == b""


@pytest.mark.usefixtures("small_files")
async def test_the_next_kubelet_finds_all_files_of_a_log_and_removes_them(log: ContainerLog, tmp_path: Path) -> None:
    lines = numbered(150)
    for line in lines:
        log.write("stdout", line)
    log.close()
    again = ContainerLog(log.path, SystemClock())
    again.close()
    assert await text(again) == b"".join(lines)
    again.remove()
    assert files(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
async def test_on_a_full_disk_output_is_lost_and_that_is_told_once(tmp_path: Path) -> None:
    told: list[OSError] = []
    (tmp_path / "0.log").symlink_to("/dev/full")
    log = ContainerLog(tmp_path / "0.log", SystemClock(), told.append)
    log.write("stdout", b"one\n")
    log.write("stdout", b"two\n")
    assert [error.strerror for error in told] == ["No space left on device"]
