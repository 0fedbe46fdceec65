"""What a cluster keeps on disk while it runs goes with it, however it ends."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kfcore_local.scratch import scratch_directory

HOLD = """
import sys
from kfcore_local.scratch import scratch_directory
with scratch_directory() as path:
    print(path, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def hold() -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_directory_is_gone_after_the_block() -> None:
    with scratch_directory() as path:
        (path / "log").write_text("x")
    assert not path.exists()


def test_what_a_killed_cluster_left_is_removed_by_the_next_start() -> None:
    process, left = hold()
    process.kill()
    process.communicate()
    assert left.exists()
    with scratch_directory():
        assert not left.exists()


def test_the_directory_of_a_running_cluster_stays() -> None:
    process, theirs = hold()
    with scratch_directory() as ours:
        assert theirs.exists()
        assert ours != theirs
    process.communicate("")
    assert not theirs.exists()


def test_a_directory_that_is_not_a_clusters_stays(tmp_path: Path) -> None:
    other = tmp_path / "kfcore-notes"
    other.mkdir()
    (other / "text").write_text("mine")
    with scratch_directory():
        assert (other / "text").exists()
