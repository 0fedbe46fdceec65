"""A directory whose files change all at once, as kubelet's volumes of API objects do: contents come in, readers see
those of before or those of after, never some of each.

The files are in a directory of their own; `..data` is a link to it, which is replaced by a rename, and each name is a
link through `..data`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

_DATA = "..data"


class File(msgspec.Struct, frozen=True):
    data: bytes
    mode: int


def write(directory: Path, files: Mapping[str, File]) -> bool:
    """Make `files`, by relative path, all that is in `directory`: whether that changed anything. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    data = directory / _DATA
    before = Path(os.path.realpath(data)) if data.is_symlink() else None
    if before is not None and dict(_present(before)) == dict(files):
        return False
    made = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    try:
        made.chmod(0o755)
        for name, file in files.items():
            path = made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.data)
            path.chmod(file.mode)
        swap = directory / "..data_tmp"
        swap.unlink(missing_ok=True)
        swap.symlink_to(made.name)
        swap.replace(data)
    except OSError:
        shutil.rmtree(made, ignore_errors=True)
        raise
    tops = {name.split("/", 1)[0] for name in files}
    for name in tops:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"{_DATA}/{name}")
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if before is not None:
        shutil.rmtree(before, ignore_errors=True)
    return True


def _present(directory: Path) -> Iterator[tuple[str, File]]:
    for parent, _, names in os.walk(directory):
        for name in names:
            path = Path(parent, name)
            yield str(path.relative_to(directory)), File(path.read_bytes(), path.stat().st_mode & 0o7777)
