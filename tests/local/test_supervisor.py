"""A container's processes: how they end, and that nothing of them outlives kfcore."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from patience import eventually

from kfcore.clock import SystemClock
from kfcore_local.container import Command, ContainerProcess, StartFailed
from kfcore_local.container_log import ContainerLog, Selection

CLOCK = SystemClock()
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's subreaper and death signals")


@pytest.fixture
async def log(tmp_path: Path) -> ContainerLog:
    return ContainerLog(tmp_path / "0.log", CLOCK)


def shell(script: str) -> Command:
    return Command(["sh", "-c", script], dict(os.environ), "/")


async def lines(log: ContainerLog) -> AsyncIterator[bytes]:
    async for chunk in log.read(Selection(follow=True)):
        for line in chunk.splitlines():
            yield line


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def until_gone(*pids: int) -> None:
    async def are_gone() -> bool:
        return not any(map(is_alive, pids))

    await eventually(are_gone, f"{pids} are gone")


async def test_output_and_exit_code_come_back(log: ContainerLog) -> None:
    process = await ContainerProcess.start(shell("echo out; echo err >&2; exit 3"), log, "t")
    ended = await process.wait()
    log.close()
    assert (ended.code, ended.signal) == (3, 0)
    assert {line async for line in lines(log)} == {b"out", b"err"}


async def test_a_signal_is_told_as_a_signal(log: ContainerLog) -> None:
    process = await ContainerProcess.start(shell("kill -SEGV $$"), log, "t")
    ended = await process.wait()
    assert (ended.code, ended.signal) == (139, signal.SIGSEGV)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (
            Command(["no-such-command"], {"PATH": "/bin"}, "/"),
            'exec: "no-such-command": executable file not found in $PATH',
        ),
        (Command(["/no/such"], {}, "/"), 'exec: "/no/such": no such file or directory'),
        (Command(["true"], dict(os.environ), "/no/such"), 'chdir to working directory "/no/such"'),
    ],
)
async def test_what_cannot_be_started_says_why(log: ContainerLog, command: Command, why: str) -> None:
    with pytest.raises(StartFailed, match=why.replace("$", r"\$")):
        await ContainerProcess.start(command, log, "t")


async def test_stop_gives_the_command_its_grace(log: ContainerLog) -> None:
    process = await ContainerProcess.start(
        shell("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done"), log, "t"
    )
    assert await anext(lines(log)) == b"ready"
    assert (await process.stop(1000, CLOCK)).code == 7


async def test_who_ignores_the_signal_is_killed_after_the_grace(log: ContainerLog) -> None:
    process = await ContainerProcess.start(shell("trap '' TERM; echo ready; while :; do sleep 0.01; done"), log, "t")
    assert await anext(lines(log)) == b"ready"
    assert (await process.stop(0.05, CLOCK)).code == 137


async def test_a_large_environment_and_much_output_pass(log: ContainerLog) -> None:
    env = {**os.environ, **{f"BIG_{number}": "x" * 60_000 for number in range(10)}}
    process = await ContainerProcess.start(
        Command(["sh", "-c", "env | wc -c; yes $(printf %64s x) | head -c 1000000"], env, "/"), log, "t"
    )
    assert (await process.wait()).code == 0
    log.close()
    assert len(b"".join([chunk async for chunk in log.read(Selection())])) > 1_000_000


@linux_only
async def test_a_daemon_ends_with_its_container(log: ContainerLog, tmp_path: Path) -> None:
    daemon_is_up = f"until test -e {tmp_path}/up; do sleep 0.01; done"
    script = f"setsid sh -c 'echo $$; touch {tmp_path}/up; exec sleep 1000' & {daemon_is_up}"
    process = await ContainerProcess.start(shell(script), log, "t")
    daemon = int(await anext(lines(log)))
    await process.wait()
    assert not is_alive(daemon)


TREE = "echo $$; setsid sh -c 'echo $$; exec sleep 1000' & sleep 1000"


@linux_only
async def test_kill_9_of_the_supervisor_leaves_nothing(log: ContainerLog) -> None:
    process = await ContainerProcess.start(shell(TREE), log, "supervisor-killed")
    output = lines(log)
    pids = [int(await anext(output)), int(await anext(output))]
    os.kill(parent_of(pids[0]), signal.SIGKILL)
    assert (await process.wait()).code == 137
    await until_gone(*pids)


HOST = """
import asyncio, os, sys
from pathlib import Path
from kfcore.clock import SystemClock
from kfcore_local.container import Command, ContainerProcess
from kfcore_local.container_log import ContainerLog, Selection

async def main():
    log = ContainerLog(Path(sys.argv[1]), SystemClock())
    await ContainerProcess.start(Command(["sh", "-c", sys.argv[2]], dict(os.environ), "/"), log, "t")
    async for chunk in log.read(Selection(follow=True)):
        print(chunk.decode(), end="", flush=True)

asyncio.run(main())
"""


@linux_only
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_however_kfcore_ends_it_leaves_nothing(tmp_path: Path, number: int) -> None:
    host = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", HOST, str(tmp_path / "0.log"), TREE),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert host.stdout is not None
    pids = [int(await host.stdout.readline()) for _ in range(2)]
    pids.append(parent_of(pids[0]))
    host.send_signal(number)
    await host.wait()
    await until_gone(*pids)
