"""The directory of a running cluster's logs: gone when it ends, and, where it was killed, at the next start."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "kfcore-scratch-"
_LOCK = "scratch.lock"
"""A name of its own: a data directory that somebody keeps beside the scratch directories has a lock too."""


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory of this cluster's own while the block runs; those that killed clusters left are removed first."""
    remove_abandoned()
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX))
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if (path / _LOCK).exists():
            break
        os.close(descriptor)  # another start took the not yet locked directory for an abandoned one
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def directories() -> list[Path]:
    """Those that are there, of all clusters and users of this machine."""
    return list(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


def remove_abandoned() -> None:
    """Remove this user's directories whose lock nobody holds: their processes are gone."""
    for path in directories():
        with contextlib.suppress(OSError):
            if path.is_symlink() or path.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)
