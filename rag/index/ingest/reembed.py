"""An index embedded again by another model, from the stored texts: the files are not read.

Vectors are computed into a file beside the index, batch by batch, while the index is searched and
written as before; at the end one commit switches to them. Whatever stops it, it goes on from the
last batch.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import IndexStateError
from rag.index.embedding import document_of, embed_chunks, whole_documents
from rag.index.index import Index
from rag.index.source_plan import digest
from rag.locks import FileLock
from rag.sqlite import connect, transaction, translated
from rag.text.surrogates import escape_surrogates

if TYPE_CHECKING:
    import numpy as np

    from rag.index.store import Address
    from rag.models import Embedder
    from rag.text.chunk import Chunk

FILE = "reembed.sqlite"
BATCH = 1_024
"""Chunks that are embedded and committed together."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS made_by (embedder TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS vectors (id TEXT PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID
"""


def reembed(
    address: Address,
    embedder: Embedder,
    on_progress: Callable[[int, int], None] = lambda done, chunks: None,
) -> int:
    """Make the vectors of an index those of another embedder.

    Searches with the old embedder go on until the switch. Later ones get an error that says to
    open the index again. The lock of the writer is held for the switch only; what was written
    meanwhile is embedded then.

    Args:
        address: Of the index.
        embedder: Makes the new vectors.
        on_progress: Called with chunks done, and all, after each batch.

    Returns:
        Texts whose vectors were made in this call; what an earlier one had made is used.

    Raises:
        IndexStateError: There is no index, another process does the same or writes to it at the
            end, the disk failed, or the store cannot replace vectors.
        ModelError: The embedder cannot be reached.
    """
    with closing(Index.open(address)) as index:
        lock = FileLock(index.folder / f"{FILE}.lock", remove=True)
        if not lock.acquire(blocking=False):
            raise IndexStateError(
                f"another process embeds this index again (pid {lock.holder()})",
                where=str(address),
                fix="wait until it is done, or stop it",
            )
        try:
            file, made = index.folder / FILE, 0
            if (index.embedder, index.dim) != (embedder.id, embedder.dim):
                with closing(_Vectors(file, embedder)) as vectors:
                    _replace(index, embedder, vectors, on_progress)
                    made = vectors.made
            _remove(file)
            return made
        finally:
            lock.release()


def _replace(
    index: Index,
    embedder: Embedder,
    vectors: _Vectors,
    on_progress: Callable[[int, int], None],
) -> None:
    chunks, done = index.stats().chunks, 0
    for some in whole_documents(index.batches(BATCH)):
        vectors(some)
        done += len(some)
        on_progress(done, chunks)
    writer = Index.writer(index.address, embedder=index.embedder, dim=index.dim, create=False)
    with closing(writer):
        writer.embed_again(embedder.id, embedder.dim, vectors)


class _Vectors:
    """The file of the new vectors. Called with chunks it gives theirs, computed if need be."""

    def __init__(self, file: Path, embedder: Embedder) -> None:
        self._file, self._embedder = file, embedder
        self.made = 0
        with self._errors():
            try:
                self._db = self._open()
            except sqlite3.DatabaseError:  # damaged: there is nothing in it that cannot be made
                _remove(file)
                self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        db = connect(self._file, schema=_SCHEMA)
        try:
            made_by = db.execute("SELECT embedder FROM made_by").fetchone()
            if made_by != (self._embedder.id,):
                with transaction(db):
                    db.execute("DELETE FROM made_by")
                    db.execute("DELETE FROM vectors")
                    db.execute("INSERT INTO made_by VALUES (?)", (self._embedder.id,))
        except BaseException:
            db.close()
            raise
        return db

    def __call__(self, chunks: Sequence[Chunk]) -> np.ndarray:
        """float32 [chunks, dim], those within one document together."""
        import numpy as np

        keys = [_key(chunk) for chunk in chunks]
        found = self._known(keys)
        lacking = {
            document_of(one)
            for key, one in zip(keys, chunks, strict=True)
            if one.within and key not in found
        }
        new = {
            key: chunk
            for key, chunk in zip(keys, chunks, strict=True)
            if key not in found or (chunk.within and document_of(chunk) in lacking)
        }
        if new:
            rows = dict(zip(new, embed_chunks(self._embedder, [*new.values()]), strict=True))
            self._put(rows)
            found |= rows
            self.made += len(new)
        return np.stack([found[key] for key in keys]).reshape(len(chunks), self._embedder.dim)

    def _known(self, keys: Iterable[str]) -> dict[str, np.ndarray]:
        import numpy as np

        size = self._embedder.dim * np.dtype(np.float32).itemsize
        found: dict[str, np.ndarray] = {}
        with self._errors():
            for key in {*keys}:
                row = self._db.execute("SELECT vector FROM vectors WHERE id = ?", (key,))
                for (data,) in row:
                    if len(data) == size:
                        found[key] = np.frombuffer(data, dtype=np.float32)
        return found

    def _put(self, rows: dict[str, np.ndarray]) -> None:
        with self._errors(), transaction(self._db):
            self._db.executemany(
                "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
                [(key, vector.tobytes()) for key, vector in rows.items()],
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _errors(self) -> AbstractContextManager[None]:
        return translated(
            IndexStateError, FILE, where=self._file, fix="check the disk's free space",
            damaged="delete this file",
        )  # fmt: skip


def _key(chunk: Chunk) -> str:
    """The same for chunks of one vector: equal texts, unless they are embedded within documents."""
    return str(chunk.id) if chunk.within else digest(escape_surrogates(chunk.indexed_text))


def _remove(file: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{file}{ending}").unlink()
