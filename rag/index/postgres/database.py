"""Connections to the database of one index, its tables, and what its errors say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rag.errors import IndexStateError
from rag.extras import require
from rag.index.store import embedded_again, other_embedder

if TYPE_CHECKING:
    from psycopg import Connection

    from rag.index.postgres.location import Location

FORMAT = 2
TIMEOUT = 10
"""Seconds that connecting may take."""
INDEXED = 2000
"""Dimensions up to which pgvector can index a vector."""

TABLES = """
CREATE TABLE state (format integer NOT NULL, embedder text NOT NULL, dim integer NOT NULL);
-- What each commit added to the number of chunks and of words: their sums without a row that
-- every writer would wait for. The last number is the version.
CREATE TABLE commits (
    seq bigint GENERATED ALWAYS AS IDENTITY, chunks bigint NOT NULL, words bigint NOT NULL);
CREATE TABLE sources (
    uri text COLLATE "C" PRIMARY KEY, digest text NOT NULL, size bigint NOT NULL,
    mtime_ns bigint NOT NULL, chunks integer NOT NULL);
CREATE SEQUENCE rows;
-- `metadata` is the JSON as it was written; `fields` are what filters compare
CREATE TABLE chunks (
    row bigint NOT NULL, id text COLLATE "C" NOT NULL, source text COLLATE "C" NOT NULL,
    metadata text NOT NULL, fields jsonb NOT NULL, content text NOT NULL, words integer NOT NULL,
    embedding vector({dim}) NOT NULL);
CREATE TABLE postings (
    term text COLLATE "C" NOT NULL, row bigint NOT NULL, times integer NOT NULL,
    words integer NOT NULL);
CREATE INDEX ON postings (term) INCLUDE (row, times, words);
CREATE INDEX ON postings (row);
"""
INDEXES = """
ALTER TABLE {table} ADD PRIMARY KEY (row), ADD UNIQUE (id);
CREATE INDEX ON {table} (source);
CREATE INDEX ON {table} USING gin (fields jsonb_path_ops);
CREATE INDEX ON {table} (hashtextextended(content, 0));
"""
NEAREST = "CREATE INDEX ON {table} USING hnsw (embedding vector_ip_ops)"


class Database:
    """Connections to one database, each used by one thread at a time.

    Args:
        address: The index.
    """

    def __init__(self, address: Location) -> None:
        require("psycopg", "postgres", where=str(address))
        require("pgvector", "postgres", where=str(address))
        self.address = address
        self._idle: list[Connection[Any]] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """A connection in no transaction.

        Raises:
            IndexStateError: The server cannot be reached, went away, or refused something.
        """
        with self._errors():
            connection = self._take()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            with self._lock:
                if not self._closed:
                    self._idle.append(connection)
                    return
            connection.close()

    @contextmanager
    def transaction(self, embedder: str) -> Iterator[Connection[Any]]:
        """A connection in a transaction that reads one state of the index.

        Args:
            embedder: Whose vectors must be there.

        Raises:
            IndexStateError: See `connection`; or the index was embedded again.
        """
        with self.connection() as connection, connection.transaction():
            # The lock comes before the snapshot: who waited for a new table would see none of it.
            connection.execute(
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;"
                " LOCK TABLE chunks IN ACCESS SHARE MODE"
            )
            found = connection.execute("SELECT embedder FROM state").fetchone()
            if found != (embedder,):
                raise embedded_again(str(found and found[0]), where=str(self.address))
            yield connection

    def exists(self) -> bool:
        """Whether there is an index."""
        with self.connection() as connection:
            return self._exists(connection)

    def check(self, wanted: tuple[str, int] | None = None) -> tuple[str, int]:
        """The index's embedder and dimensions.

        Args:
            wanted: Those of a writer.

        Raises:
            IndexStateError: There is no index, it is of another format, or of another embedder.
        """
        with self.connection() as connection:
            if not self._exists(connection):
                raise IndexStateError(
                    "there is no index here", where=str(self.address), fix="rag ingest PATH"
                )
            found = connection.execute("SELECT format, embedder, dim FROM state").fetchone()
        if found is None or found[0] != FORMAT:
            version = found[0] if found else "unknown"
            raise IndexStateError(
                f"the index has format {version}; this version of rag reads format {FORMAT}",
                where=str(self.address),
                fix="name another collection and ingest into it, or use the version of rag that"
                " made it",
            )
        made = (str(found[1]), int(found[2]))
        if wanted is not None and made != wanted:
            raise other_embedder(made, wanted, where=str(self.address))
        return made

    def create(self, embedder: str, dim: int) -> None:
        """Make the tables, unless they are there: in one transaction."""
        from psycopg.sql import SQL, Identifier

        with self.connection() as connection, connection.transaction():
            # Two processes that start together would make the same tables.
            self._alone(connection)
            if self._exists(connection):
                return
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            schema = Identifier(self.address.schema)
            connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
            connection.execute(TABLES.format(dim=dim).encode())
            index_chunks(connection, "chunks", dim)
            connection.execute("INSERT INTO state VALUES (%s, %s, %s)", (FORMAT, embedder, dim))
        self._close_idle()  # they do not know pgvector's type yet

    def prepare(self) -> None:
        """Make what an index of an earlier version lacks."""
        with self.connection() as connection, connection.transaction():
            self._alone(connection)
            made = connection.execute(
                "SELECT 1 FROM pg_indexes WHERE schemaname = %s AND tablename = 'chunks'"
                " AND indexdef LIKE '%%hashtextextended%%'",
                (self.address.schema,),
            )
            if made.fetchone() is None:
                connection.execute("CREATE INDEX ON chunks (hashtextextended(content, 0))")

    def _alone(self, connection: Connection[Any]) -> None:
        """Be the only process that makes tables of this index, until the transaction ends."""
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (self.address.schema,)
        )

    def close(self) -> None:
        """Close the idle connections now and the others after use."""
        self._closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _exists(self, connection: Connection[Any]) -> bool:
        found = connection.execute(
            "SELECT 1 FROM pg_tables WHERE schemaname = %s AND tablename = 'state'",
            (self.address.schema,),
        )
        return found.fetchone() is not None

    def _take(self) -> Connection[Any]:
        """An idle connection that the server still knows, or a new one."""
        import psycopg

        while True:
            with self._lock:
                if self._closed:
                    raise IndexStateError(
                        "the index was closed", where=str(self.address), fix="open it again"
                    )
                idle = self._idle.pop() if self._idle else None
            if idle is None:
                return self._connect()
            try:
                idle.execute("SELECT 1")
            except psycopg.OperationalError:
                idle.close()  # the server was restarted
            else:
                return idle

    def _connect(self) -> Connection[Any]:
        import psycopg
        from pgvector.psycopg import register_vector

        connection = psycopg.connect(self.address.url, autocommit=True, connect_timeout=TIMEOUT)
        try:
            path = f'"{self.address.schema}", public'
            connection.execute("SELECT set_config('search_path', %s, false)", (path,))
            known = "SELECT 1 FROM pg_extension WHERE extname = 'vector'"
            if connection.execute(known).fetchone():
                register_vector(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of PostgreSQL, as IndexStateError."""
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            what, fix = _explained(error)
            raise IndexStateError(what, where=str(self.address), fix=fix) from error


def index_chunks(connection: Connection[Any], table: str, dim: int) -> None:
    """Make the indexes of a table of chunks with vectors of this length."""
    connection.execute(INDEXES.format(table=table).encode())
    if dim <= INDEXED:
        connection.execute(NEAREST.format(table=table).encode())


def _explained(error: Any) -> tuple[str, str]:
    """What went wrong, and how to mend it."""
    from psycopg import OperationalError, errors

    reason = (str(error).splitlines() or [type(error).__name__])[0]
    match error:
        case errors.DiskFull():
            return f"the disk of the database is full: {reason}", "make room on the server"
        case errors.UndefinedFile() | errors.FeatureNotSupported():
            return f"the server has no pgvector: {reason}", "install pgvector on the server"
        case errors.InsufficientPrivilege():
            return (
                f"the user may not do that: {reason}",
                "let the user create schemas, and an administrator run CREATE EXTENSION vector",
            )
        case OperationalError():
            return (
                f"the database cannot be reached, or went away: {reason}",
                "see that the server is there, and try again: nothing is half written",
            )
    return f"the database refused: {reason}", "see the server's log"
