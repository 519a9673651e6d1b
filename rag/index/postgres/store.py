"""The store in PostgreSQL with pgvector, for any number of machines at once.

A collection is a schema of tables of its own. A source is written in one transaction, so a kill, a
lost connection or a full disk leaves it as it was; two writers of one source follow one another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rag.errors import IndexStateError
from rag.index.postgres import search
from rag.index.postgres.conditions import clean
from rag.index.postgres.database import INDEXED, Database
from rag.index.postgres.location import Location
from rag.index.postgres.reembed import embed_again
from rag.index.postgres.verify import problems
from rag.index.postgres.write import Writer, stored_chunks
from rag.index.store import derived_folder
from rag.index.types import (
    Aggregate,
    Hit,
    IndexProblem,
    IndexStats,
    Source,
    SourceUpdate,
    WriteReport,
)
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

    from rag.index.store import Embed, Score, Where

_SOURCE = "SELECT uri, digest, size, mtime_ns, chunks FROM sources"


class PostgresStore:
    """One collection, open; see `rag.index.store.Store`.

    Attributes:
        address: Where it is.
        embedder: Id of the embedder that makes its vectors.
        dim: Length of a vector.
        folder: In the user's cache folder.
    """

    def __init__(
        self, address: Location, database: Database, made: tuple[str, int], *, write: bool
    ) -> None:
        self.address = address
        self.embedder, self.dim = made
        self.folder: Path = derived_folder(address.key)
        self._database = database
        self._writer = Writer(database, *made) if write else None

    @classmethod
    def opened(
        cls,
        address: Location,
        wanted: tuple[str, int] | None = None,
        *,
        create: bool = False,
    ) -> Self:
        """Open it, for writing with an embedder (id, dimensions) or for reading.

        Raises:
            IndexStateError: See `Address.open` and `Address.writer`.
        """
        database = Database(address)
        try:
            if create and wanted is not None:
                database.create(*wanted)
            made = database.check(wanted)
            if wanted is not None:
                database.prepare()
            return cls(address, database, made, write=wanted is not None)
        except BaseException:
            database.close()
            raise

    def known(self, uris: Sequence[str]) -> dict[str, Source]:
        """See `Store`."""
        by_name = {clean(uri): uri for uri in uris}
        with self._database.connection() as db:
            found = db.execute(f"{_SOURCE} WHERE uri = ANY(%s)", (list(by_name),)).fetchall()
        return {by_name[row[0]]: Source(*row) for row in found}

    def sources(self) -> Iterator[Source]:
        """See `Store`."""
        with self._database.connection() as db:
            return iter([Source(*row) for row in db.execute(f"{_SOURCE} ORDER BY uri").fetchall()])

    def stored(self, uri: str) -> dict[str, str]:
        """See `Store`."""
        with self._database.connection() as db:
            return stored_chunks(db, uri)

    def vectors_of_equal(self, chunks: Sequence[Chunk]) -> dict[int, np.ndarray]:
        """See `Store`; one query."""
        with self._database.transaction(self.embedder) as db:
            return search.vectors_of_equal(db, chunks)

    def write(self, updates: Sequence[SourceUpdate]) -> WriteReport:
        """See `Store`; each source in one transaction."""
        return self._writing().write(updates)

    def delete(self, uris: Sequence[str]) -> int:
        """See `Store`; each source in one transaction."""
        return self._writing().delete(uris)

    def index_metadata(self, keys: Sequence[str]) -> None:
        """See `Store`: all keys share one index, made with the tables."""
        self._writing()

    def dense(self, vector: np.ndarray, k: int, where: Where) -> list[Hit]:
        """See `Store`; by HNSW, approximate where there are many chunks."""
        with self._database.transaction(self.embedder) as db:
            return search.dense(db, vector, k, where)

    def sparse(self, query: str, k: int, where: Where) -> list[Hit]:
        """See `Store`."""
        with self._database.transaction(self.embedder) as db:
            return search.sparse(db, query, k, where)

    def hybrid(
        self, query: str, vector: np.ndarray, k: int, depth: int, score: Score, where: Where
    ) -> list[Hit]:
        """See `Store`."""
        with self._database.transaction(self.embedder) as db:
            return search.hybrid(db, query, vector, k, depth, score, where)

    def dense_sources(
        self, vector: np.ndarray, k: int, aggregate: Aggregate, where: Where
    ) -> list[Hit]:
        """See `Store`; reads all vectors."""
        with self._database.transaction(self.embedder) as db:
            return search.by_source(db, vector, k, aggregate, where)

    def of_source(self, uri: str) -> list[Chunk]:
        """See `Store`."""
        sql = f"SELECT {search.CHUNK} FROM chunks WHERE source = %s ORDER BY row"  # noqa: S608 - no values in it
        with self._database.connection() as db:
            found = db.execute(sql.encode(), (clean(uri),)).fetchall()
        return sorted(map(search.chunk_of, found), key=lambda chunk: chunk.position)

    def get(self, ids: Sequence[str]) -> list[Chunk]:
        """See `Store`."""
        sql = f"SELECT {search.CHUNK} FROM chunks WHERE id = ANY(%s)"  # noqa: S608 - no values in it
        wanted = [clean(key) for key in ids]
        with self._database.connection() as db:
            found = db.execute(sql.encode(), (wanted,)).fetchall()
        chunks = {row[1]: search.chunk_of(row) for row in found}
        return [chunks[key] for key in wanted if key in chunks]

    def batches(self, count: int) -> Iterator[list[Chunk]]:
        """See `Store`."""
        sql = f"SELECT {search.CHUNK} FROM chunks WHERE row > %s ORDER BY row LIMIT %s"  # noqa: S608 - no values in it
        last = -1
        while True:
            with self._database.connection() as db:
                found = db.execute(sql.encode(), (last, count)).fetchall()
            if not found:
                return
            last = found[-1][0]
            yield [search.chunk_of(row) for row in found]

    def version(self) -> str:
        """See `Store`."""
        with self._database.connection() as db:
            # Numbers are drawn before they are committed: the last one alone may not change.
            found = db.execute("SELECT count(*), coalesce(max(seq), 0) FROM commits").fetchone()
        return ".".join(map(str, found or ()))

    def stats(self) -> IndexStats:
        """See `Store`."""
        sizes = "SELECT pg_total_relation_size('chunks'), pg_total_relation_size('postings')"
        with self._database.transaction(self.embedder) as db:
            counts = db.execute("SELECT count(*), coalesce(sum(chunks), 0) FROM sources").fetchone()
            chunks, postings = db.execute(sizes).fetchone() or (0, 0)
        sources, count = counts or (0, 0)
        return IndexStats(
            address=str(self.address),
            sources=sources,
            chunks=int(count),
            tombstones=0,
            bytes={"chunks": chunks, "postings": postings},
            embedder=self.embedder,
            dim=self.dim,
            vectors="hnsw" if self.dim <= INDEXED else "flat",
        )

    def compact(self) -> None:
        """See `Store`."""
        writer = self._writing()
        with self._database.connection() as db:
            writer.fold(db, 1)
            db.execute("VACUUM (ANALYZE) chunks, postings, sources, commits")

    def verify(self) -> list[IndexProblem]:
        """See `Store`: whether the tables fit together; the server has checksums of its own."""
        with self._database.transaction(self.embedder) as db:
            return problems(db)

    def rebuild(self) -> list[str]:
        """See `Store`: words are counted again; sources that lack chunks are forgotten."""
        writer = self._writing()
        with self._database.connection() as db:
            torn = db.execute(
                "SELECT uri FROM sources"
                " WHERE chunks <> (SELECT count(*) FROM chunks WHERE source = uri)"
            ).fetchall()
        lost = sorted(uri for (uri,) in torn)
        writer.delete(lost)
        writer.rebuild()
        return lost

    def embed_again(self, embedder: str, dim: int, embed: Embed) -> None:
        """See `Store`."""
        self._writing()
        with self._database.connection() as db:
            embed_again(db, embedder, dim, embed)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def _writing(self) -> Writer:
        if self._writer is None:
            raise IndexStateError(
                "the index is open for reading", where=str(self.address), fix="use Index.writer"
            )
        return self._writer
