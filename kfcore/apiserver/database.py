"""The data directory of an API server: a locked SQLite file of changes, from which the storage is rebuilt at the start.

A change is one row: what an object was as of one resource version, or that it was gone. The last row of an object is
the object; the rows before it are the history that watches resume from. Blocking; `journal.py` calls it from a task.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

FILE = "state.db"
APPLICATION_ID = 0x6B66_6372
FORMAT = 1

_SCHEMA = f"""
CREATE TABLE changes (
    version INTEGER PRIMARY KEY,
    collection TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE horizons (collection TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""


class DataDirectoryError(Exception):
    """A data directory that cannot be used. The message names it, says why, and what to do."""


class Row(msgspec.Struct, frozen=True):
    version: int
    collection: str
    namespace: str
    name: str
    deleted: bool
    data: bytes


class Batch(msgspec.Struct):
    """What one transaction writes: new rows, versions that no reader can ask for any more, and how far back each
    collection's history now reaches.
    """

    rows: list[Row] = msgspec.field(default_factory=list)
    obsolete: list[int] = msgspec.field(default_factory=list)
    horizons: dict[str, int] = msgspec.field(default_factory=dict)


class Database:
    """Opened at construction; raises DataDirectoryError. `close` gives the directory free.

    `synchronous=NORMAL`: a commit is in the operating system's hands when it returns, so that it survives the death of
    this process, however violent. Only a power cut can take the last commits along, and never half of one; it takes
    every client of a loopback server along too, so that none is left that saw what is gone. FULL would cost every lone
    write a disk flush for that.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / FILE
        self._lock = _locked(directory)
        try:
            self._connection = self._open()
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self.path, timeout=0.5, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise DataDirectoryError(f"cannot open {self.path}: {error}") from error
        try:
            # Nobody else opens the file (the lock sees to that), and so it needs no shared memory beside it.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            new = self._is_new(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if new:
                connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        except sqlite3.DatabaseError as error:
            connection.close()
            if isinstance(error, sqlite3.OperationalError):  # the machine's fault, not the file's
                raise DataDirectoryError(f"cannot use {self.path}: {error}") from error
            raise self._damaged(str(error)) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_new(self, connection: sqlite3.Connection) -> bool:
        """Whether nothing is in it yet. Raises DataDirectoryError for what is not ours, before it is touched."""
        application, version, tables = (
            connection.execute(query).fetchone()[0]
            for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if not tables:
            return True
        if application != APPLICATION_ID:
            raise DataDirectoryError(f"{self.path} is a database of another program; choose another data directory")
        if version != FORMAT:
            raise DataDirectoryError(
                f"{self.path} is of format {version}, this kfcore reads {FORMAT}: use the kfcore that wrote it"
            )
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise self._damaged(problem.splitlines()[-1])
        return False

    def _damaged(self, why: str) -> DataDirectoryError:
        return DataDirectoryError(
            f"{self.path} is damaged ({why}): restore it from a copy, or move it away to begin with an empty cluster"
        )

    def load(self) -> tuple[Iterator[Row], Mapping[str, int]]:
        """All rows, oldest first, and the horizons of the collections."""
        try:
            horizons = dict(self._connection.execute("SELECT collection, version FROM horizons"))
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error
        return self._rows(), horizons

    def _rows(self) -> Iterator[Row]:
        query = "SELECT version, collection, namespace, name, deleted, data FROM changes ORDER BY version"
        try:
            for version, collection, namespace, name, deleted, data in self._connection.execute(query):
                yield Row(version, collection, namespace, name, bool(deleted), data)
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def write(self, batch: Batch) -> None:
        """Commit all of it or nothing. Raises sqlite3.Error, of which a full disk is one."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(
                "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?)",
                [(r.version, r.collection, r.namespace, r.name, r.deleted, r.data) for r in batch.rows],
            )
            if batch.obsolete:
                connection.executemany("DELETE FROM changes WHERE version = ?", [(v,) for v in batch.obsolete])
                connection.executemany("INSERT OR REPLACE INTO horizons VALUES (?, ?)", [*batch.horizons.items()])
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # some errors end the transaction themselves
                connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._connection.close()
        os.close(self._lock)


def _locked(directory: Path) -> int:
    """The descriptor that holds the directory's lock; the kernel gives it free when its process ends, however."""
    while True:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirectoryError(f"cannot use {directory} as a data directory: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            why = f"{directory} is in use by another kfcore (process {holder})"
            raise DataDirectoryError(f"{why}: stop that one, or choose another directory") from error
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(directory / "lock")):
                break
        os.close(descriptor)  # the directory was cleared in between: others would have another lock
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def obsolete_versions(previous: int | None, evicted: int, deleted: bool) -> Sequence[int]:
    """The rows that a change which left the history makes needless: what it replaced, and itself if it was the end."""
    return [version for version in (previous, evicted if deleted else None) if version is not None]
