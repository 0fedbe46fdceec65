"""What a cluster with a data directory keeps of its doors, so that who could come in before can do so after a restart:
the administrator's token, the key that signs the tokens of service accounts, and the port. In one file that its owner
alone can read. Without a data directory all of it is new with every start.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from pathlib import Path

import msgspec

FILE = "secrets.json"
_KEY_BYTES = 32


class Secrets(msgspec.Struct, frozen=True):
    """`port` is the one that was served on last; 0 where there was none."""

    token: str
    signing_key: str
    port: int = 0

    @property
    def key(self) -> bytes:
        return bytes.fromhex(self.signing_key)


def fresh() -> Secrets:
    return Secrets(secrets.token_urlsafe(32), secrets.token_bytes(_KEY_BYTES).hex())


def load(directory: Path) -> Secrets:
    """Those that are kept in `directory`, else new ones. A file that others could have read or written is not used."""
    try:
        descriptor = os.open(directory / FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor) as file:
            status = os.fstat(file.fileno())
            kept = Secrets(**json.load(file))
        if status.st_uid == os.geteuid() and not status.st_mode & 0o077 and len(kept.token) >= 32 and kept.key:
            return kept
    except (OSError, ValueError, TypeError):
        return fresh()
    return fresh()


def save(directory: Path, kept: Secrets) -> None:
    """Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=f".{FILE}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(msgspec.structs.asdict(kept), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, directory / FILE)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
