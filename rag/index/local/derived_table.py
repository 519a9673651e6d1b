"""The file of what further models compute from an index's chunks."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from pathlib import Path

from rag.errors import IndexStateError
from rag.index.local.checksums import checksum
from rag.index.types import IndexProblem
from rag.locks import FileLock
from rag.sqlite import connect, damage, is_damage, transaction, translated

_LOG = logging.getLogger(__name__)

FILE = "derived.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS derived (
    kind TEXT, id TEXT, data BLOB NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID
"""
_ROWS = "SELECT kind, id, data, checksum FROM derived"


class DerivedTable:
    """The rows of one kind in the file of an index.

    Attributes:
        rows: Chunk id to data, as of the opening; without what is not what was written.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._file, self._kind = folder / FILE, kind
        self._writable = os.access(folder, os.W_OK)
        with self._errors():
            self._db, self.rows = self._open()

    def _open(self) -> tuple[sqlite3.Connection, dict[str, bytes]]:
        try:
            return self._read()
        except sqlite3.DatabaseError as error:
            if not is_damage(error) or not self._writable:
                raise
        with FileLock(self._file.with_suffix(".lock"), remove=True):
            try:  # another process may have been first
                return self._read()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                _LOG.warning("%s is damaged and recomputed: %s", self._file, error)
                _remove(self._file)
                return self._read()

    def _read(self) -> tuple[sqlite3.Connection, dict[str, bytes]]:
        if self._writable:
            db = connect(self._file, schema=_SCHEMA)
        elif self._file.is_file():
            db = connect(self._file, read_only=True)
        else:
            db = connect(None, schema=_SCHEMA)
        try:
            found = db.execute(f"{_ROWS} WHERE kind = ?", (self._kind,)).fetchall()
            return db, {key: data for _, key, data, known in found if checksum(data) == known}
        except BaseException:
            db.close()
            raise

    def put(self, rows: Mapping[str, bytes]) -> None:
        """Add rows, in one commit."""
        if not self._writable:
            return
        with self._errors(), transaction(self._db):
            self._db.executemany(
                "INSERT OR REPLACE INTO derived VALUES (?, ?, ?, ?)",
                [(self._kind, key, data, checksum(data)) for key, data in rows.items()],
            )

    def drop(self, keys: Iterable[str]) -> None:
        """Remove rows, in one commit."""
        if not self._writable:
            return
        with self._errors(), transaction(self._db):
            self._db.executemany(
                "DELETE FROM derived WHERE kind = ? AND id = ?",
                [(self._kind, key) for key in keys],
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _errors(self) -> AbstractContextManager[None]:
        return translated(IndexStateError, FILE, where=self._file, fix="delete this file")


def derived_problems(folder: Path) -> Iterator[IndexProblem]:
    """What is wrong in the file of an index, if there is one."""
    if not (folder / FILE).is_file():
        return
    try:
        with closing(connect(folder / FILE, read_only=True)) as db:
            for what in damage(db):
                yield IndexProblem(FILE, what)
            for kind, key, data, known in db.execute(_ROWS):
                if checksum(data) != known:
                    yield IndexProblem(FILE, f"{kind} of chunk {key} is not what was written")
    except (sqlite3.Error, OSError) as error:
        yield IndexProblem(FILE, str(error))


def forget_derived(folder: Path) -> None:
    """Remove the file, which is computed again at the next use."""
    with FileLock((folder / FILE).with_suffix(".lock"), remove=True):
        _remove(folder / FILE)


def _remove(file: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        Path(f"{file}{ending}").unlink(missing_ok=True)
