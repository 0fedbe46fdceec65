"""What a machine may not let a cluster have, and what its user can do about it: a port that is taken, a file that
cannot be written, a full disk.
"""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path


class CannotStart(Exception):
    """The cluster cannot have what it needs. The message says what, and what to do."""


@contextlib.contextmanager
def taking_port(port: int, option: str) -> Iterator[None]:
    """Around the start of a server on a port of 127.0.0.1 that `option` chose."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotStart(f"port {port} is in use: choose another {option}, or 0 for a free one") from error
        if error.errno == errno.EACCES:
            raise CannotStart(f"port {port} is not for you to use: choose an {option} of 1024 or more") from error
        raise


@contextlib.contextmanager
def writing(what: str, path: Path, remedy: str) -> Iterator[None]:
    """Around the writing of a file."""
    try:
        yield
    except OSError as error:
        raise CannotStart(f"cannot write {what} {path}: {error.strerror}; {remedy}") from error


def explain(error: OSError) -> str:
    """An error of the machine that nobody expected there, as a sentence for a user."""
    where = f" {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        disk = "there" if where else "on the disks that kfcore writes to"
        return f"no space is left to write{where}: make room {disk}, or set TMPDIR (now {tempfile.gettempdir()})"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"cannot write{where}: {error.strerror}; give another place, or set TMPDIR (now {tempfile.gettempdir()})"
    return str(error)
