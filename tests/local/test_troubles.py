"""What a user is told when the machine does not give what a cluster needs: one line, and exit code 2."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE

from kfcore_local.troubles import CannotStart, explain, taking_port, writing

KFCORE = str(Path(sys.executable).with_name("kfcore"))
JOB = Path(__file__).parents[2] / "examples" / "pytorch" / "single.yaml"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def local(*arguments: str, **environ: str) -> tuple[int, list[str]]:
    """The exit code and the lines of standard error."""
    command = [KFCORE, "local", *arguments]
    ended = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=PATIENCE)
    return ended.returncode, ended.stderr.splitlines()


@pytest.mark.parametrize(
    "command", [("up", "--port"), ("up", "--gateway-port"), ("run", str(JOB), "--gateway-port")], ids=" ".join
)
def test_a_port_that_is_taken_is_told_with_the_option_that_chose_it(command: tuple[str, ...], taken_port: int) -> None:
    said = f"port {taken_port} is in use: choose another {command[-1]}, or 0 for a free one"
    assert local(*command, str(taken_port)) == (2, [said])


def test_a_kubeconfig_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "kubeconfig"
    code, [line] = local("up", "--without", "kubelet", "--kubeconfig", str(path))
    assert code == 2
    assert line.startswith(f"cannot write the kubeconfig {path}: ")
    assert line.endswith("choose another file for --kubeconfig")


def test_errors_of_the_machine_are_sentences() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/file")
    assert explain(full).startswith("no space is left to write /some/file: make room there, or set TMPDIR")
    read_only = OSError(errno.EROFS, os.strerror(errno.EROFS), "/some/file")
    assert explain(read_only).startswith("cannot write /some/file: Read-only file system; give another place")
    full_disk = pytest.raises(CannotStart, match="cannot write the log /a: No space left on device; make room")
    with full_disk, writing("the log", Path("/a"), "make room"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    small_port = pytest.raises(CannotStart, match="port 80 is not for you to use: choose an --port of 1024 or more")
    with small_port, taking_port(80, "--port"):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
