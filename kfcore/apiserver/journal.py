"""Between the storage, which changes at once, and the database, which takes its time: changes are gathered while the
last ones are written, go down together in one transaction, and only then does anyone outside see them (`settle`).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable

import msgspec
import structlog

from kfcore.apiserver.database import Batch, Database, DataDirectoryError, Row, obsolete_versions
from kfcore.apiserver.storage import Change, Collection, Storage
from kfcore.client.errors import InsufficientStorage

log = structlog.get_logger(__name__)


class _Entry(msgspec.Struct, frozen=True):
    collection: Collection
    change: Change
    evicted: Change | None


class Journal:
    """Writes what `storage` records to `database`. When that fails, everything not yet written is undone: who asked for
    it is refused, and `on_undone` hears of each change, the newest first.
    """

    def __init__(self, storage: Storage, database: Database) -> None:
        self._storage = storage
        self._database = database
        self._pending: list[_Entry] = []
        self._writing: list[_Entry] = []
        self._next: asyncio.Future[None] | None = None
        self._current: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.on_undone: list[Callable[[Collection, Change], None]] = []
        self._load()
        storage.journal = self._record

    def _load(self) -> None:
        rows, horizons = self._database.load()
        for row in rows:
            collection = self._storage.collection(row.collection)
            collection.oldest = horizons.get(row.collection, 0)
            self._storage.restore(collection, (row.namespace, row.name), row.version, row.data, deleted=row.deleted)

    def _record(self, collection: Collection, change: Change, evicted: Change | None) -> None:
        self._pending.append(_Entry(collection, change, evicted))
        if self._task is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return  # before anything runs; `flush` or the first request writes it
            self._task = loop.create_task(self._write_all())

    async def settle(self) -> None:
        """Return once everything recorded so far is on disk. Raises InsufficientStorage when it was undone instead."""
        if self._pending:
            loop = asyncio.get_running_loop()
            if self._next is None:
                self._next = loop.create_future()
            if self._task is None:
                self._task = loop.create_task(self._write_all())
            await asyncio.shield(self._next)
        elif self._current is not None:
            await asyncio.shield(self._current)

    async def _write_all(self) -> None:
        """One batch after the other until nothing is left: while one is written, the next is gathered."""
        try:
            await asyncio.sleep(0)  # all that is ready to run adds to the first batch
            while self._pending:
                self._writing, self._pending = self._pending, []
                done = self._current = self._next or asyncio.get_running_loop().create_future()
                self._next = None
                try:
                    await asyncio.to_thread(self._database.write, _batch(self._writing))
                except sqlite3.Error as error:
                    self._undo(error)
                else:
                    self._writing = []
                    done.set_result(None)
                self._current = None
        finally:
            self._task = None

    def _undo(self, error: sqlite3.Error) -> None:
        log.error("apiserver.not_stored", directory=str(self._database.directory), error=str(error))
        undone = [*self._writing, *self._pending]
        self._writing, self._pending = [], []
        for entry in reversed(undone):
            self._storage.undo(entry.collection, entry.change)
            for notify in self.on_undone:
                notify(entry.collection, entry.change)
        waiting, self._next = (self._current, self._next), None
        for future in waiting:
            if future is not None:
                why = f"the change could not be written to {self._database.path} and was not made: {error}"
                future.set_exception(InsufficientStorage(why))
                future.exception()  # nobody may be waiting any more

    def flush(self) -> None:
        """Write what is pending, blocking: for the time before anything runs. Raises DataDirectoryError."""
        if self._pending:
            try:
                self._database.write(_batch(self._pending))
            except sqlite3.Error as error:
                raise DataDirectoryError(f"cannot write {self._database.path}: {error}") from error
            self._pending = []

    async def close(self) -> None:
        """Write what is left and give the directory free."""
        if self._task is not None:
            await asyncio.wait([self._task])
        try:
            self.flush()
        finally:
            self._storage.journal = None
            self._database.close()


def _batch(entries: list[_Entry]) -> Batch:
    batch = Batch()
    for entry in entries:
        change, evicted = entry.change, entry.evicted
        key = change.current.key
        name, deleted = entry.collection.name, change.type == "DELETED"
        batch.rows.append(Row(change.current.version, name, *key, deleted, change.current.data))
        if evicted is not None:
            previous = evicted.previous.version if evicted.previous else None
            batch.obsolete += obsolete_versions(previous, evicted.current.version, evicted.type == "DELETED")
            batch.horizons[name] = evicted.current.version
    return batch
