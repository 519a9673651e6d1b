"""The SQLite file: the source of truth of an index and its only commit point.

WAL lets readers go on while the writer commits. `synchronous=FULL` makes each commit durable
before the BM25 index, which follows it, is written. If a process dies NORMAL would do, but a power
cut could then undo commits that BM25 has seen, and their row numbers. It costs one fsync a batch.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rag.errors import IndexStateError
from rag.index.local.checksums import checksum
from rag.sqlite import Frozen, connect, transaction
from rag.sqlite import translated as sqlite_errors

FILE = "index.sqlite"
APPLICATION = 0x72616731  # "rag1" in the file's header: an index and not some other database
FORMAT = 4

EQUAL = "checksum(CAST(content AS BLOB))"
"""What chunks of equal texts have in common."""

# statements are separated by empty lines, as those of triggers hold semicolons
SCHEMA = """
CREATE TABLE state (
    embedder TEXT NOT NULL, dim INTEGER NOT NULL, generation INTEGER NOT NULL,
    seq INTEGER NOT NULL, vectors INTEGER NOT NULL, last_row INTEGER NOT NULL,
    last_tombstone INTEGER NOT NULL, renewed INTEGER NOT NULL);

CREATE TABLE sources (
    uri TEXT PRIMARY KEY, digest TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, chunks INTEGER NOT NULL, added_at REAL NOT NULL,
    checksum INTEGER NOT NULL) WITHOUT ROWID;

-- metadata comes before content, so that filters need not read past long texts
CREATE TABLE chunks (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL,
    checksum INTEGER NOT NULL, metadata TEXT NOT NULL, content TEXT NOT NULL);

CREATE INDEX chunks_source ON chunks (source);

CREATE TABLE tombstones (n INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL);

-- what each commit appended to the file of vectors
CREATE TABLE segments (
    start INTEGER PRIMARY KEY, count INTEGER NOT NULL, checksum INTEGER NOT NULL);

-- inverted lists over the vectors: one row at most
CREATE TABLE lists (
    seq INTEGER NOT NULL, generation INTEGER NOT NULL, vectors INTEGER NOT NULL,
    trained INTEGER NOT NULL, efforts TEXT NOT NULL, checksum INTEGER NOT NULL);

-- metadata keys that are filtered often, and their values: numbers and texts, those of a list
-- each, and x'00' for a list or mapping itself
CREATE TABLE filter_keys (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, path TEXT NOT NULL);

CREATE TABLE filter_values (
    key INTEGER, value, row INTEGER, PRIMARY KEY (key, value, row)) WITHOUT ROWID;

-- a value that a list has twice comes twice
CREATE VIEW chunk_values AS
    SELECT key, row, x'00' AS value
    FROM chunks JOIN filter_keys ON json_type(metadata, path) IN ('array', 'object')
    UNION ALL
    SELECT filter_keys.key, row, one.value
    FROM chunks JOIN filter_keys JOIN json_each(metadata, filter_keys.path) AS one
    WHERE json_type(metadata, filter_keys.path) <> 'object'
        AND one.type NOT IN ('array', 'object', 'null');

CREATE TRIGGER chunk_added AFTER INSERT ON chunks BEGIN
    INSERT OR IGNORE INTO filter_values
        SELECT key, value, row FROM chunk_values WHERE row = new.row;
END;

CREATE TRIGGER metadata_changes BEFORE UPDATE OF metadata ON chunks BEGIN
    DELETE FROM filter_values WHERE (key, value, row) IN
        (SELECT key, value, row FROM chunk_values WHERE row = old.row);
END;

CREATE TRIGGER metadata_changed AFTER UPDATE OF metadata ON chunks BEGIN
    INSERT OR IGNORE INTO filter_values
        SELECT key, value, row FROM chunk_values WHERE row = new.row;
    UPDATE state SET renewed = renewed + 1;
END;
"""


@dataclass(frozen=True)
class State:
    """The last commit.

    Attributes:
        embedder: Id of the embedder.
        dim: Length of a vector.
        generation: Number of the vector file and BM25 folder in use; `compact` starts a new one.
        seq: Number of the commit.
        vectors: Vectors in the file, dead ones included.
        last_row: The highest row number of `chunks` ever used.
        last_tombstone: The highest row number of `tombstones` ever used.
        renewed: How often metadata of stored chunks changed.
    """

    embedder: str
    dim: int
    generation: int
    seq: int
    vectors: int
    last_row: int
    last_tombstone: int
    renewed: int

    @property
    def first_row(self) -> int:
        """The row of the first vector. Rows and vectors are numbered alike from there on."""
        return self.last_row - self.vectors + 1


class Database:
    """Connections to the SQLite file of one index, each used by one thread at a time.

    Args:
        folder: The index.
        write: Whether the connections may write.
    """

    def __init__(self, folder: Path, *, write: bool) -> None:
        self._folder = folder
        self._write = write
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection outside of a transaction; what is not committed in the end is rolled back.

        Raises:
            IndexStateError: The file is damaged, or the disk gave an error.
        """
        with translated(self._folder):
            connection = self._take()
            try:
                yield connection
            finally:
                with self._lock:
                    if self._closed:
                        connection.close()
                    else:
                        connection.rollback()
                        self._idle.append(connection)

    def close(self) -> None:
        """Close the idle connections now and the others after use."""
        with self._lock:
            self._closed = True
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _take(self) -> sqlite3.Connection:
        """An idle connection that still sees the file that is there, or a new one."""
        with self._lock:
            if self._closed:
                raise IndexStateError(
                    "the index was closed", where=str(self._folder), fix="open it again"
                )
            connection = self._idle.pop() if self._idle else None
        if isinstance(connection, Frozen) and connection.stale():
            connection.close()
            connection = None
        if connection is None:
            connection = connect(self._folder / FILE, synchronous="FULL", read_only=not self._write)
            connection.create_function("checksum", -1, checksum, deterministic=True)
        return connection


def check(connection: sqlite3.Connection, folder: Path) -> bool:
    """Whether the file holds a finished index.

    Returns:
        False if nothing was ever committed to it.

    Raises:
        IndexStateError: The file is another program's, or of another format.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application == APPLICATION and version != FORMAT:
        later = "upgrade modular-rag, or " if version > FORMAT else ""
        raise IndexStateError(
            f"the index has format {version}; this version of rag reads format {FORMAT}",
            where=str(folder),
            fix=f"{later}ingest into another folder",
        )
    if application == APPLICATION:
        return True
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise IndexStateError(
            f"{FILE} belongs to another program",
            where=str(folder),
            fix="choose another folder for the index",
        )
    return False


def create(connection: sqlite3.Connection, embedder: str, dim: int) -> None:
    """Make the tables of an empty index, in one commit."""
    with transaction(connection):
        for statement in SCHEMA.split(";\n\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION}")
        connection.execute(f"PRAGMA user_version={FORMAT}")
        connection.execute("INSERT INTO state VALUES (?, ?, 1, 0, 0, 0, 0, 0)", (embedder, dim))


def prepare(connection: sqlite3.Connection, folder: Path, embedder: str, dim: int) -> None:
    """Make the tables where there are none, and what an index of an earlier version lacks.

    Raises:
        IndexStateError: As `check`.
    """
    if not check(connection, folder):
        create(connection, embedder, dim)
    connection.execute(f"CREATE INDEX IF NOT EXISTS chunks_equal ON chunks ({EQUAL})")


def read_state(connection: sqlite3.Connection) -> State:
    """What the connection's transaction sees as committed."""
    return State(*connection.execute("SELECT * FROM state").fetchone())


def translated(folder: Path) -> AbstractContextManager[None]:
    """Errors of SQLite and of the disk, as IndexStateError."""
    return sqlite_errors(
        IndexStateError,
        FILE,
        where=folder,
        fix="check the disk's free space and the folder's permissions",
        damaged="run rag index rebuild, or delete the folder and run rag ingest PATH",
    )
