"""The reading half of an index: one consistent commit per search."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag.errors import IndexStateError
from rag.index.local.bm25 import BM25, bm25_folder
from rag.index.local.database import FILE, Database, State, check, read_state
from rag.index.local.lock import writer_lock
from rag.index.local.snapshot import Snapshot, read_snapshot
from rag.index.store import embedded_again

FOLLOWS, POLL = 2.0, 0.002
"""Seconds that a search waits for BM25 to follow a commit, and between two looks."""


class Reader:
    """What searches need of one index, brought up to the last commit before each of them.

    Args:
        folder: The index.
        database: Its SQLite file.
        writing: Whether this process is the writer, which keeps BM25 up to date itself.
    """

    def __init__(self, folder: Path, database: Database, *, writing: bool) -> None:
        self.folder = folder
        self.database = database
        self._writing = writing
        self._snapshot: Snapshot | None = None
        self._bm25: BM25 | None = None
        self._lock = threading.Lock()

    @contextmanager
    def vectors(self) -> Iterator[tuple[sqlite3.Connection, Snapshot]]:
        """A connection in a transaction on the last commit, and the vectors of that commit."""
        with self.database.connection() as connection:
            while True:
                connection.execute("BEGIN")
                state = read_state(connection)
                try:
                    snapshot = self._snapshot_of(connection, state)
                except IndexStateError:
                    if not self._compacted_since(connection, state):
                        raise
                    continue
                if snapshot is not None:
                    break
                connection.execute("ROLLBACK")
            yield connection, snapshot

    @contextmanager
    def words(self) -> Iterator[tuple[sqlite3.Connection, Snapshot, BM25]]:
        """Like `vectors`, and the BM25 index of that commit.

        A writer lets BM25 follow each commit, so for a moment it lacks the last one, and would not
        find what that has replaced: the search waits for it. Where it does not come, since the
        writer is stuck, it goes without.
        """
        until = time.monotonic() + FOLLOWS
        while True:
            with self.vectors() as (connection, snapshot):
                try:
                    bm25 = self._bm25_of(snapshot.state)
                except IndexStateError:
                    if not self._compacted_since(connection, snapshot.state):
                        if time.monotonic() >= until:
                            raise
                        time.sleep(POLL)  # a writer may be making the first one
                    continue
                if _behind(bm25, snapshot.state) and time.monotonic() < until:
                    time.sleep(POLL)
                    continue
                yield connection, snapshot, bm25
                return

    def adopt(self, bm25: BM25) -> None:
        """Search this BM25 index from now on."""
        with self._lock:
            self._bm25 = bm25

    def _snapshot_of(self, connection: sqlite3.Connection, state: State) -> Snapshot | None:
        """The snapshot of `state`; None if another thread has a later one: read the state again."""
        with self._lock:
            if self._snapshot is not None and self._snapshot.state.seq > state.seq:
                return None
            if self._snapshot is not None and self._snapshot.state.embedder != state.embedder:
                raise embedded_again(state.embedder, where=str(self.folder))
            if self._snapshot is None or self._snapshot.state != state:
                self._snapshot = read_snapshot(connection, self.folder, state, self._snapshot)
            return self._snapshot

    def _bm25_of(self, state: State) -> BM25:
        path = bm25_folder(self.folder, state.generation)
        with self._lock:
            bm25, failure = self._bm25, None
            try:
                if bm25 is None or bm25.path != path:
                    bm25 = BM25(path, create=False)
                elif _behind(bm25, state):
                    bm25.refresh()
            except IndexStateError as error:
                bm25, failure = None, error
            if bm25 is None or _behind(bm25, state):
                bm25 = self._repair() or bm25
            if bm25 is None:
                raise failure or IndexStateError("no BM25 index", where=str(path))
            self._bm25 = bm25
            return bm25

    def _repair(self) -> BM25 | None:
        """Finish what a dead writer left unfinished; None while a writer is active."""
        if self._writing:
            return None
        try:
            lock = writer_lock(self.folder)
        except IndexStateError:
            return None
        try:
            with self.database.connection() as connection:
                connection.execute("BEGIN")
                state = read_state(connection)
                bm25 = BM25(bm25_folder(self.folder, state.generation), create=True)
                try:
                    bm25.catch_up(connection, state)
                finally:
                    bm25.close()
                return bm25
        finally:
            lock.release()

    def _compacted_since(self, connection: sqlite3.Connection, state: State) -> bool:
        """Whether the files of `state` were replaced by a compaction."""
        connection.execute("ROLLBACK")
        return read_state(connection).generation != state.generation


def open_database(folder: Path) -> Database:
    """The database of an index that exists, for reading.

    Raises:
        IndexStateError: There is no index, or it was never finished, or it cannot be read.
    """
    if not (folder / FILE).is_file():
        raise IndexStateError("there is no index here", where=str(folder), fix="rag ingest PATH")
    database = Database(folder, write=False)
    with database.connection() as connection:
        finished = check(connection, folder)
    if not finished:
        database.close()
        raise IndexStateError(
            "the index was begun and never finished", where=str(folder), fix="rag ingest PATH"
        )
    return database


def _behind(bm25: BM25, state: State) -> bool:
    row, tombstone = bm25.covered
    return row < state.last_row or tombstone < state.last_tombstone
