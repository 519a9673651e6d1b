"""The writing half of an index: one commit a batch.

The order makes a crash harmless at any point: vectors reach the disk behind those committed, then
SQLite commits, then BM25 follows. Vectors without a commit are cut off by the next write, and a
commit without BM25 is taken in by whoever opens the index next.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import IndexStateError
from rag.index.filters import clean
from rag.index.local.bm25 import BM25, bm25_folder
from rag.index.local.database import FILE, Database, State, check, create, read_state, translated
from rag.index.local.lock import writer_lock
from rag.index.local.reader import Reader
from rag.index.local.tables import apply_plan, bury_source, put_source
from rag.index.local.vectors import append, map_file, unit, vector_file
from rag.index.types import Source, SourceUpdate, WriteReport

if TYPE_CHECKING:
    import numpy as np

COPIED = 16_384  # vectors that a compaction copies at a time


class Writer:
    """The writer of one index; holds the lock until closed.

    Args:
        folder: The index.
        embedder: Id of the embedder.
        dim: Length of a vector.
        create: Make an empty index where there is none.

    Raises:
        IndexStateError: As `Index.writer` says.
    """

    def __init__(self, folder: Path, *, embedder: str, dim: int, create: bool) -> None:
        _prepare(folder, create=create)
        self._folder = folder
        self._turn = threading.Lock()
        self._lock = writer_lock(folder)
        self._database = Database(folder, write=True)
        self._bm25: BM25 | None = None
        try:
            self._open(embedder, dim)
        except BaseException:
            self.close()
            raise
        self.reader = Reader(folder, self._database, writing=True)
        self.reader.adopt(self._words())

    def _open(self, embedder: str, dim: int) -> None:
        with self._database.connection() as connection:
            if not check(connection, self._folder):
                create(connection, embedder, dim)
            connection.execute("BEGIN")
            state = read_state(connection)
            if (state.embedder, state.dim) != (embedder, dim):
                raise IndexStateError(
                    f"the index was made with {state.embedder} ({state.dim} dimensions), not with"
                    f" {embedder} ({dim} dimensions)",
                    where=str(self._folder),
                    fix=f"use the embedder {state.embedder}, or ingest into another folder",
                )
            self._sweep(state)
            map_file(vector_file(self._folder, state.generation), state.vectors, dim)
            self._bm25 = BM25(bm25_folder(self._folder, state.generation), create=True)
            self._bm25.catch_up(connection, state)

    def write(self, updates: Sequence[SourceUpdate]) -> WriteReport:
        """See `Index.write`."""
        report = WriteReport(0, 0, 0)
        vectors: list[np.ndarray] = []
        indexed: list[str] = []
        with self._transaction() as (connection, state):
            for update in updates:
                plan = update.plan
                new = unit(update.vectors, state.dim)
                if len(new) != len(plan.new):
                    raise ValueError(
                        f"{plan.uri}: {len(new)} vectors for {len(plan.new)} new chunks"
                    )
                apply_plan(connection, plan, state.vectors + len(indexed))
                put_source(
                    connection,
                    Source(plan.uri, update.digest, update.size, update.mtime_ns, 0),
                )
                vectors.append(new)
                indexed += plan.texts
                report += WriteReport(len(plan.new), plan.kept, len(plan.gone))
            # Rows are numbered one by one, in the order in which they were written.
            rows = dict(enumerate(indexed, start=state.last_row + 1))
            self._commit(connection, state, vectors, rows)
        return report

    def delete(self, uris: Iterable[str]) -> int:
        """See `Index.delete`."""
        with self._transaction() as (connection, state):
            removed = sum(bury_source(connection, clean(uri)) for uri in uris)
            self._commit(connection, state, [], {})
        return removed

    def compact(self) -> None:
        """See `Index.compact`."""
        with self._transaction() as (connection, state):
            self._sweep(state)
            generation = state.generation + 1
            connection.execute("DELETE FROM tombstones")
            vectors = self._copy_vectors(connection, state)
            connection.execute(
                "UPDATE chunks SET vector = n.position FROM (SELECT row AS key,"
                " row_number() OVER (ORDER BY row) - 1 AS position FROM chunks) AS n"
                " WHERE n.key = chunks.row"
            )
            words = BM25(bm25_folder(self._folder, generation), create=True)
            try:
                words.catch_up(connection, state)
            finally:
                words.close()
            connection.execute(
                "UPDATE state SET seq = seq + 1, generation = ?, vectors = ?", (generation, vectors)
            )
            connection.execute("COMMIT")
            self._words().close()
            self._bm25 = words
            self.reader.adopt(words)
            self._sweep(read_state(connection))
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Finish background work and let others write."""
        with self._turn:
            try:
                if self._bm25 is not None:
                    self._bm25.close()
            finally:
                self._bm25 = None
                self._database.close()
                self._lock.release()

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, State]]:
        """The next write: rolled back unless committed inside."""
        with self._turn, self._database.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection, read_state(connection)

    def _commit(
        self,
        connection: sqlite3.Connection,
        state: State,
        vectors: Sequence[np.ndarray],
        indexed: Mapping[int, str],
    ) -> None:
        """Vectors to the disk, then SQLite, then BM25."""
        import numpy as np

        new = np.concatenate([np.empty((0, state.dim), dtype=np.float32), *vectors])
        if len(new):
            append(vector_file(self._folder, state.generation), state.vectors, new)
        connection.execute(
            "UPDATE state SET seq = seq + 1, vectors = vectors + ?,"
            " last_row = coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'chunks'), 0),"
            " last_tombstone ="
            " coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'tombstones'), 0)",
            (len(new),),
        )
        connection.execute("COMMIT")
        connection.execute("BEGIN")
        self._words().catch_up(connection, read_state(connection), indexed)

    def _copy_vectors(self, connection: sqlite3.Connection, state: State) -> int:
        """Copy the live vectors to the next generation's file; returns how many."""
        import numpy as np

        target = vector_file(self._folder, state.generation + 1)
        matrix = map_file(vector_file(self._folder, state.generation), state.vectors, state.dim)
        live = connection.execute("SELECT vector FROM chunks ORDER BY row")
        count = 0
        while block := live.fetchmany(COPIED):
            append(target, count, matrix[np.array(block)[:, 0]])
            count += len(block)
        return count

    def _sweep(self, state: State) -> None:
        """Remove the files of other generations: replaced by a compaction, or of an unfinished."""
        keep = {vector_file(self._folder, state.generation).name}
        keep.add(bm25_folder(self._folder, state.generation).name)
        with translated(self._folder):
            for file in self._folder.glob("vectors-*.f32"):
                if file.name not in keep:
                    file.unlink()
            for folder in self._folder.glob("bm25-*"):
                if folder.name not in keep:
                    shutil.rmtree(folder)

    def _words(self) -> BM25:
        if self._bm25 is None:
            raise IndexStateError(
                "the index was closed", where=str(self._folder), fix="open it again"
            )
        return self._bm25


def _prepare(folder: Path, *, create: bool) -> None:
    """Make sure that the folder exists and holds an index or nothing."""
    if not create and not (folder / FILE).is_file():
        raise IndexStateError("there is no index here", where=str(folder), fix="rag ingest PATH")
    with translated(folder):
        folder.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in folder.iterdir()}
    if FILE not in names and names - {"lock"}:
        raise IndexStateError(
            "the folder holds other files and no index",
            where=str(folder),
            fix="choose an empty folder for the index",
        )
