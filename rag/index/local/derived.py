"""What further models make of an index's chunks: token vectors, sparse weights.

A SQLite file beside the index's own, filled at first use and brought up to date by every later
one. It can be deleted at any time: it holds nothing that cannot be computed again.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from langchain_core.documents import Document

from rag.errors import IndexStateError
from rag.index.index import Index

if TYPE_CHECKING:
    import numpy as np

FILE = "derived.sqlite"
BATCH = 128
"""Chunks that are computed together, and committed."""

T = TypeVar("T")


class Derived(Generic[T]):
    """One kind of data per chunk, kept on disk, and what is made of all of it, kept in memory.

    Args:
        kind: What tells the data from other kinds of the same file: kind, model, its settings.
        compute: Chunks to their data.
        build: Data of all chunks, in the order of `Index.batches`, to what is searched.
    """

    def __init__(
        self,
        kind: str,
        compute: Callable[[Sequence[Document]], list[bytes]],
        build: Callable[[list[bytes]], T],
    ) -> None:
        self._kind, self._compute, self._build = kind, compute, build

    def of(self, index: Index) -> tuple[list[Document], T]:
        """The chunks, and what was built of them, as of the index's last commit.

        Raises:
            IndexStateError: The file cannot be written or is damaged.
        """
        with _lock:
            kept = _built.setdefault(index, {})
            version = index.version()
            if self._kind not in kept or kept[self._kind][0] != version:
                chunks = [chunk for batch in index.batches(1000) for chunk in batch]
                kept[self._kind] = (version, chunks, self._build(self._data(index, chunks)))
            _, chunks, built = kept[self._kind]
        return chunks, cast(T, built)

    def _data(self, index: Index, chunks: list[Document]) -> list[bytes]:
        file = index.path / FILE
        try:
            with closing(sqlite3.connect(file, timeout=60)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS derived (kind TEXT, id TEXT, data BLOB NOT NULL,"
                    " PRIMARY KEY (kind, id)) WITHOUT ROWID"
                )
                stored = connection.execute(
                    "SELECT id, data FROM derived WHERE kind = ?", (self._kind,)
                )
                known: dict[str, bytes] = dict(stored.fetchall())
                new = [chunk for chunk in chunks if chunk.id not in known]
                # Like lengths together: they pad least.
                new.sort(key=lambda chunk: -len(chunk.page_content))
                for start in range(0, len(new), BATCH):
                    part = new[start : start + BATCH]
                    rows = list(zip([str(c.id) for c in part], self._compute(part), strict=True))
                    known.update(rows)
                    with connection:
                        connection.executemany(
                            "INSERT OR REPLACE INTO derived VALUES (?, ?, ?)",
                            [(self._kind, key, data) for key, data in rows],
                        )
                gone = known.keys() - {str(chunk.id) for chunk in chunks}
                with connection:
                    connection.executemany(
                        "DELETE FROM derived WHERE kind = ? AND id = ?",
                        [(self._kind, key) for key in gone],
                    )
        except sqlite3.Error as error:
            raise IndexStateError(
                f"cannot be used: {error}", where=str(file), fix="delete this file"
            ) from error
        return [known[str(chunk.id)] for chunk in chunks]


_lock = threading.Lock()
_built: WeakKeyDictionary[Index, dict[str, tuple[str, list[Document], object]]] = (
    WeakKeyDictionary()
)


def half(array: np.ndarray) -> bytes:
    """An array as 16-bit floats."""
    import numpy as np

    return bytes(np.ascontiguousarray(array, dtype=np.float16).tobytes())
