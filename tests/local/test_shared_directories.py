"""Directories of others in which an ordinary user may write: a container's root overlays them by themselves, since it
cannot give a copy of them to their owners.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kfcore_local.isolation.rootfs import foreign_directory, writable_directories

UNKNOWN = 65534
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives directories to another user")


def test_what_one_may_write_to_is_found_near_the_top(tmp_path: Path) -> None:
    (tmp_path / "team" / "runs" / "deep").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "team")
    found = writable_directories([str(tmp_path), str(tmp_path / "missing")])
    assert found == [str(tmp_path / "team"), str(tmp_path / "team" / "runs")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_what_one_may_not_write_to_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "fixed").mkdir(mode=0o555)
    assert writable_directories([str(tmp_path)]) == []


@only_root
def test_the_lowest_directory_of_others_on_the_way_is_overlaid(tmp_path: Path) -> None:
    mine = tmp_path / "shared" / "team" / "mine"
    mine.mkdir(parents=True)
    for theirs in (tmp_path / "shared", tmp_path / "shared" / "team"):
        os.chown(theirs, UNKNOWN, UNKNOWN)
    top, shared, team = (str(path) for path in (tmp_path, tmp_path / "shared", tmp_path / "shared" / "team"))
    assert foreign_directory(str(mine), [top]) == team
    assert foreign_directory(shared, [top]) == shared
    assert foreign_directory(str(mine), [top, team]) == "", "it has an overlay already"
    assert foreign_directory(str(tmp_path), [top]) == ""
