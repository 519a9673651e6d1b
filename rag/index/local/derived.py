"""What further models compute from an index's chunks: token vectors, sparse weights.

An SQLite file beside the index's own, filled at first use and brought up to date by every later
one. It holds nothing that cannot be recomputed: a damaged file is, and in a folder that
cannot be written nothing is stored.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from rag.errors import IndexStateError
from rag.index.index import Index
from rag.locks import FileLock
from rag.sqlite import connect, is_damage, transaction, translated
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

_LOG = logging.getLogger(__name__)

FILE = "derived.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS derived (
    kind TEXT, id TEXT, data BLOB NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID
"""
BATCH = 128
"""Chunks that are computed together, and committed."""

T = TypeVar("T")


class Derived(Generic[T]):
    """One kind of data per chunk, stored on disk, and what is built of all of it, cached in memory.

    Args:
        kind: Identifies the data within the file: kind, model, its settings.
        compute: Chunks to their data.
        build: Data of all chunks, in the order of `Index.batches`, to what is searched.
    """

    def __init__(
        self,
        kind: str,
        compute: Callable[[Sequence[Chunk]], list[bytes]],
        build: Callable[[list[bytes]], T],
    ) -> None:
        self._kind, self._compute, self._build = kind, compute, build

    def of(self, index: Index) -> tuple[list[Chunk], T]:
        """The chunks and what was built of them, as of the index's last commit.

        Raises:
            IndexStateError: The file cannot be written.
        """
        with _lock:
            kept = _built.setdefault(index, {})
            version = index.version()
            if self._kind not in kept or kept[self._kind][0] != version:
                chunks = [chunk for batch in index.batches(1000) for chunk in batch]
                kept[self._kind] = (version, chunks, self._build(self._data(index, chunks)))
            _, chunks, built = kept[self._kind]
        return chunks, cast(T, built)

    def _data(self, index: Index, chunks: list[Chunk]) -> list[bytes]:
        with closing(_Table(index.path, self._kind)) as table:
            known = table.rows
            new = [chunk for chunk in chunks if chunk.id not in known]
            # Like lengths together: they pad least.
            new.sort(key=lambda chunk: -len(chunk.text))
            for start in range(0, len(new), BATCH):
                part = new[start : start + BATCH]
                rows = dict(zip([str(c.id) for c in part], self._compute(part), strict=True))
                known |= rows
                table.put(rows)
            ids = [str(chunk.id) for chunk in chunks]
            table.drop(known.keys() - set(ids))
        return [known[key] for key in ids]


class _Table:
    """The rows of one kind in the file of an index.

    Attributes:
        rows: Chunk id to data, as of the opening.
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
                for ending in ("", "-wal", "-shm"):
                    Path(f"{self._file}{ending}").unlink(missing_ok=True)
                return self._read()

    def _read(self) -> tuple[sqlite3.Connection, dict[str, bytes]]:
        if self._writable:
            db = connect(self._file, schema=_SCHEMA)
        elif self._file.is_file():
            db = connect(self._file, read_only=True)
        else:
            db = connect(None, schema=_SCHEMA)
        try:
            found = db.execute("SELECT id, data FROM derived WHERE kind = ?", (self._kind,))
            return db, dict(found.fetchall())
        except BaseException:
            db.close()
            raise

    def put(self, rows: Mapping[str, bytes]) -> None:
        """Add rows, in one commit."""
        if not self._writable:
            return
        with self._errors(), transaction(self._db):
            self._db.executemany(
                "INSERT OR REPLACE INTO derived VALUES (?, ?, ?)",
                [(self._kind, key, data) for key, data in rows.items()],
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


_lock = threading.Lock()
_built: WeakKeyDictionary[Index, dict[str, tuple[str, list[Chunk], object]]] = WeakKeyDictionary()


def half(array: np.ndarray) -> bytes:
    """An array as 16-bit floats."""
    import numpy as np

    return bytes(np.ascontiguousarray(array, dtype=np.float16).tobytes())
