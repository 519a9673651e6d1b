"""The writing half of an index: one commit a batch.

The order makes a crash harmless at any point: vectors are appended to the committed ones, then
SQLite commits, then BM25 follows. Vectors without a commit are cut off by the next write; a commit
that BM25 lacks is added by whoever opens the index next.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import IndexStateError
from rag.index.local.blocks import Blocks, Embed, copied, embedded
from rag.index.local.bm25 import BM25, bm25_folder
from rag.index.local.build_lists import build, trusted, wanted
from rag.index.local.database import FILE, Database, State, prepare, read_state, translated
from rag.index.local.declared import declare, read_again
from rag.index.local.lists import ListsFile
from rag.index.local.lock import writer_lock
from rag.index.local.reader import Reader
from rag.index.local.tables import (
    apply_plan,
    bury_source,
    forget_damaged,
    put_segment,
    put_source,
    stored_chunks,
)
from rag.index.local.vectors import append, map_file, unit, vector_file
from rag.index.local.verify import damaged_segments, is_sound
from rag.index.source_plan import basis_of
from rag.index.store import other_embedder
from rag.index.types import Source, SourceUpdate, WriteReport
from rag.sqlite import transaction
from rag.text.surrogates import escape_surrogates

if TYPE_CHECKING:
    import numpy as np

_LOG = logging.getLogger(__name__)


class Writer:
    """The writer of one index; holds the lock until closed.

    Args:
        folder: The index.
        embedder: Id of the embedder.
        dim: Length of a vector.
        create: Make an empty index where there is none.
        embed: Chunks to vectors, to replace vectors that are lost.

    Raises:
        IndexStateError: As `Index.writer` says.
    """

    def __init__(
        self, folder: Path, *, embedder: str, dim: int, create: bool, embed: Embed | None = None
    ) -> None:
        _prepare(folder, create=create)
        self._folder = folder
        self._embed = embed
        self._turn = threading.Lock()
        self._lock = writer_lock(folder)
        self._database = Database(folder, write=True)
        self._bm25: BM25 | None = None
        self.reader = Reader(folder, self._database, writing=True)
        try:
            self._open(embedder, dim)
        except BaseException:
            self.close()
            raise

    def _open(self, embedder: str, dim: int) -> None:
        with self._database.connection() as connection:
            prepare(connection, self._folder, embedder, dim)
            connection.execute("BEGIN")
            state = read_state(connection)
            if (state.embedder, state.dim) != (embedder, dim):
                made, given = (state.embedder, state.dim), (embedder, dim)
                raise other_embedder(made, given, where=str(self._folder))
            self._sweep(connection, state)
            lost = None
            try:
                map_file(vector_file(self._folder, state.generation), state.vectors, dim)
            except IndexStateError as error:
                if self._embed is None:
                    raise
                lost = error
            self._bm25 = BM25(bm25_folder(self._folder, state.generation), create=True)
            self._bm25.catch_up(connection, state)
            self.reader.adopt(self._bm25)
        if lost is not None and self._embed is not None:
            _LOG.warning("vectors are recomputed from the stored texts: %s", lost.what)
            self._rewrite(partial(embedded, self._embed))

    def write(self, updates: Sequence[SourceUpdate]) -> WriteReport:
        """See `Index.write`."""
        report = WriteReport(0, 0, 0)
        vectors: list[np.ndarray] = []
        indexed: list[str] = []
        with self._transaction() as (connection, state):
            for update in updates:
                plan = update.plan
                if basis_of(stored_chunks(connection, plan.uri)) != plan.basis:
                    report += WriteReport(0, 0, 0, (plan.uri,))
                    continue
                new = unit(update.vectors, state.dim)
                if len(new) != len(plan.new):
                    raise ValueError(
                        f"{plan.uri}: {len(new)} vectors for {len(plan.new)} new chunks"
                    )
                apply_plan(connection, plan, state.last_row + 1 + len(indexed))
                put_source(
                    connection,
                    Source(plan.uri, update.digest, update.size, update.mtime_ns, 0),
                )
                vectors.append(new)
                indexed += plan.texts
                report += WriteReport.of(plan)
            rows = dict(enumerate(indexed, start=state.last_row + 1))
            self._commit(connection, state, vectors, rows)
        return report

    def delete(self, uris: Iterable[str]) -> int:
        """See `Index.delete`."""
        with self._transaction() as (connection, state):
            removed = sum(bury_source(connection, escape_surrogates(uri)) for uri in uris)
            self._commit(connection, state, [], {})
        return removed

    def index_metadata(self, keys: Sequence[str]) -> None:
        """See `Store.index_metadata`."""
        with self._transaction() as (connection, _):
            declare(connection, keys)
            connection.execute("COMMIT")

    def compact(self) -> None:
        """See `Index.compact`."""
        self._rewrite(partial(copied, self._folder))

    def embed_again(self, embedder: str, dim: int, embed: Embed) -> None:
        """See `Store.embed_again`."""
        self._rewrite(partial(embedded, embed), (embedder, dim))

    def _rewrite(self, vectors: Blocks, made_by: tuple[str, int] | None = None) -> None:
        """Start a new generation: the live vectors in a new file, and a new BM25 index.

        Args:
            vectors: Gives the vectors of all chunks, in the order of their rows, in blocks.
            made_by: The embedder of these vectors, and their length; None: as before.
        """
        with self._transaction() as (connection, before):
            state = before
            if made_by is not None:
                state = replace(before, embedder=made_by[0], dim=made_by[1])
                connection.execute("UPDATE state SET embedder = ?, dim = ?", made_by)
            self._sweep(connection, state)
            generation = state.generation + 1
            blocks = vectors(connection, state)
            connection.execute("DELETE FROM tombstones")
            connection.execute("DELETE FROM segments")
            count = 0
            for block in filter(len, blocks):
                append(vector_file(self._folder, generation), count, block)
                put_segment(connection, count, block)
                count += len(block)
            (highest,) = connection.execute("SELECT max(row) FROM chunks").fetchone()
            used = max(state.last_row, highest or 0)
            # Rows are numbered anew behind all that were ever used: like the vectors, one by one.
            connection.execute(
                "UPDATE chunks SET row = ? + n.number FROM (SELECT row AS key,"
                " row_number() OVER (ORDER BY row) AS number FROM chunks) AS n"
                " WHERE n.key = chunks.row",
                (used,),
            )
            read_again(connection)
            begun = replace(
                state,
                generation=generation,
                seq=state.seq + 1,
                vectors=count,
                last_row=used + count,
            )
            connection.execute(
                "UPDATE state SET seq = ?, generation = ?, vectors = ?, last_row = ?",
                (begun.seq, begun.generation, begun.vectors, begun.last_row),
            )
            words = BM25(bm25_folder(self._folder, generation), create=True)
            try:
                words.catch_up(connection, begun)
            finally:
                words.close()
            connection.execute("COMMIT")
            self._words().close()
            self._bm25 = words
            self.reader.adopt(words)
            self._sweep(connection, begun)
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def rebuild(self) -> list[str]:
        """Forget the sources whose rows are damaged, and make everything else anew.

        The vectors are copied if they are sound, and embedded again, all of them, if not.

        Returns:
            The sources that were forgotten.

        Raises:
            IndexStateError: The disk failed, SQLite's file cannot be read, or vectors must be
                embedded and the writer has no embedder.
        """
        with self._transaction() as (connection, state):
            connection.execute("REINDEX")
            lost = forget_damaged(connection)
            self._commit(connection, state, [], {})
        with self._transaction() as (connection, state):
            matrix = map_file(vector_file(self._folder, state.generation), state.vectors, state.dim)
            damaged = not is_sound(connection, state) or damaged_segments(connection, matrix)
        if not damaged:
            self._rewrite(partial(copied, self._folder))
        elif self._embed is not None:
            self._rewrite(partial(embedded, self._embed))
        else:
            raise IndexStateError(
                "vectors are damaged", where=str(self._folder), fix="give the embedder"
            )
        return lost

    def close(self) -> None:
        """Build lists where they are due, finish background work and release the lock.

        Whatever stops the building leaves the lists that there were.
        """
        with self._turn:
            try:
                if self._bm25 is not None:
                    self._build_lists()
                if self._bm25 is not None:
                    self._bm25.close()
            finally:
                self._bm25 = None
                self._database.close()
                self._lock.release()

    def _build_lists(self) -> None:
        with self._database.connection() as connection:
            state = read_state(connection)
            known = trusted(self._folder, ListsFile.of(connection, state.generation))
            if not wanted(state.vectors, known):
                return
            file = vector_file(self._folder, state.generation)
            try:
                matrix = map_file(file, state.vectors, state.dim)
                due = ListsFile(state.seq + 1, state.generation, 0, 0, ())
                made = build(self._folder, matrix, known, due)
            except (IndexStateError, OSError, RuntimeError, MemoryError) as error:
                # FAISS raises RuntimeError where the disk is full.
                _LOG.warning("no lists were built: %s", error)
                return
            with transaction(connection):
                made.put(connection)
                connection.execute("UPDATE state SET seq = seq + 1")
            self._sweep(connection, read_state(connection))

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, State]]:
        """The transaction of the next write, rolled back unless it commits."""
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
            put_segment(connection, state.vectors, new)
        connection.execute(
            "UPDATE state SET seq = seq + 1, vectors = vectors + ?1, last_row = last_row + ?1,"
            " last_tombstone ="
            " coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'tombstones'), 0)",
            (len(new),),
        )
        connection.execute("COMMIT")
        connection.execute("BEGIN")
        self._words().catch_up(connection, read_state(connection), indexed)

    def _sweep(self, connection: sqlite3.Connection, state: State) -> None:
        """Remove the files of other generations: replaced ones, and those of a dead compaction."""
        keep = {vector_file(self._folder, state.generation).name}
        keep.add(bm25_folder(self._folder, state.generation).name)
        if lists := ListsFile.of(connection, state.generation):
            keep.add(lists.name)
        with translated(self._folder):
            for pattern in ("vectors-*.f32", "lists-*.faiss"):
                for file in self._folder.glob(pattern):
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
