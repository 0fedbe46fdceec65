"""kubectl reaches the processes of pods: exec, attach, cp and port-forward, each with the real kubectl."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import socket
import struct
import subprocess
import termios
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from patience import PATIENCE, wait_until
from up_cluster import KUBECTL, Cluster, running_cluster

pytestmark = pytest.mark.skipif(not KUBECTL, reason="no kubectl on PATH: install one to run these tests")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("kubectl")) as made:
        made.start_pods()
        yield made


def test_exec_runs_in_the_containers_environment_and_tells_the_exit_code(cluster: Cluster) -> None:
    done = cluster.kubectl("exec", "server", "--", "sh", "-c", "echo $GREETING; pwd; echo oops >&2; exit 3")
    assert done.stderr.decode().splitlines() == ["oops", "command terminated with exit code 3"]
    assert done.stdout.decode().splitlines() == ["hello", str(cluster.folder)]
    assert done.returncode == 3


def test_exec_takes_input_to_its_end_and_gives_as_much_output(cluster: Cluster) -> None:
    data = os.urandom(3_000_000)
    assert cluster.through_cat(data) == data


def test_exec_of_what_is_not_there_is_an_error(cluster: Cluster) -> None:
    done = cluster.kubectl("exec", "server", "--", "no-such-command")
    assert done.returncode != 0
    assert b'exec: "no-such-command": executable file not found in $PATH' in done.stderr
    done = cluster.kubectl("exec", "nobody", "--", "true")
    assert b'pods "nobody" not found' in done.stderr
    done = cluster.kubectl("exec", "server", "-c", "other", "--", "true")
    assert b"container other is not valid for pod server" in done.stderr


def test_exec_ends_with_its_client(cluster: Cluster) -> None:
    marker = f"97{os.getpid()}"
    command = [KUBECTL, "exec", "server", "--", "sleep", marker]
    with subprocess.Popen(command, env=cluster.environment) as client:
        wait_until(lambda: _runs(marker, "sleep"))
        client.kill()
    wait_until(lambda: not _runs(marker, "sleep"))


def test_exec_with_a_terminal_has_one_of_the_clients_size(cluster: Cluster) -> None:
    # The size comes beside the command, which may be quicker, as in a cluster.
    script = "tty; until stty size | grep -v '^0 0$'; do sleep 0.05; done; read x; echo [$x]"
    with _terminal(cluster, "exec", "-it", "server", "--", "sh", "-c", script) as terminal:
        assert re.search(rb"/dev/(pts/|tty)", _read_until(terminal, b"24 80"))
        os.write(terminal, b"typed\n")
        assert b"[typed]" in _read_until(terminal, b"[typed]")


def test_ctrl_c_in_a_terminal_interrupts_the_command(cluster: Cluster) -> None:
    # It sleeps again and again: a shell that is interrupted between its fork and the program waits for that to end.
    with _terminal(
        cluster,
        "exec",
        "-it",
        "server",
        "--",
        "sh",
        "-c",
        "trap 'echo cut; exit' INT; echo up; while :; do sleep 0.1; done",
    ) as t:
        _read_until(t, b"up")
        os.write(t, b"\x03")
        _read_until(t, b"cut")


def test_cp_copies_both_ways(cluster: Cluster) -> None:
    source, back = cluster.folder / "source", cluster.folder / "back"
    source.mkdir()
    (source / "file").write_bytes(os.urandom(700_000))
    (source / "other").write_text("text")
    done = cluster.kubectl("cp", str(source), f"server:{cluster.folder}/copied")
    assert done.returncode == 0, done.stderr
    done = cluster.kubectl("cp", "server:copied/file", str(back))
    assert done.returncode == 0, done.stderr
    assert back.read_bytes() == (source / "file").read_bytes()


def test_attach_shares_the_containers_input_and_output(cluster: Cluster) -> None:
    done = cluster.kubectl("attach", "-i", "reader", stdin=b"one\ntwo\n")
    assert (done.stdout, done.returncode) == (b"got one\ngot two\n", 4), done.stderr
    assert cluster.kubectl("logs", "reader").stdout == b"got one\ngot two\n"


def test_run_attaches_to_what_it_starts(cluster: Cluster) -> None:
    arguments = ("run", "-i", "--rm", "--restart=Never", "--image=busybox", "once", "--command", "--", "cat")
    done = cluster.kubectl(*arguments, stdin=b"through\n")
    assert done.returncode == 0, done.stderr
    assert b"through" in done.stdout, done.stderr


def test_port_forward_carries_several_connections(cluster: Cluster) -> None:
    (cluster.folder / "page").write_bytes(b"x" * 2_000_000)
    with _forwarding(cluster, "pod/server", cluster.port) as port:
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/page", timeout=60) as answer:
                assert len(answer.read()) == 2_000_000


def test_port_forward_to_nothing_says_so(cluster: Cluster) -> None:
    with _forwarding(cluster, "pod/server", 1) as port, socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.settimeout(60)
        assert connection.recv(1) == b""


@contextmanager
def _forwarding(cluster: Cluster, target: str, remote: int) -> Iterator[int]:
    command = [KUBECTL, "port-forward", "--address", "127.0.0.1", target, f":{remote}"]
    with subprocess.Popen(command, env=cluster.environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            match = re.search(rb"127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert match is not None
            yield int(match[1])
        finally:
            process.kill()


@contextmanager
def _terminal(cluster: Cluster, *arguments: str) -> Iterator[int]:
    """kubectl on a terminal of 80 columns and 24 rows."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [KUBECTL, *arguments]
    with subprocess.Popen(
        command, env=cluster.environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    ) as process:
        os.close(slave)
        try:
            yield master
        finally:
            process.kill()
            os.close(master)


def _read_until(terminal: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        assert select.select([terminal], [], [], PATIENCE)[0], f"expected {wanted!r} in {seen!r}"
        try:
            data = os.read(terminal, 4096)
        except OSError:
            data = b""
        assert data, f"expected {wanted!r} in {seen!r}"
        seen += data
    return seen


def _runs(argument: str, command: str) -> bool:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if entry.read_bytes() == f"{command}\0{argument}\0".encode():
                return True
    return False
