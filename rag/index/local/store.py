"""The store in a folder: chunks in SQLite, vectors in a file, BM25 by Tantivy.

One process at a time may write; readers are never blocked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rag.errors import IndexStateError
from rag.index.local import search, tables
from rag.index.local.derived_table import forget_derived
from rag.index.local.reader import Reader, open_database
from rag.index.local.stats import stats
from rag.index.local.verify import problems
from rag.index.local.writer import Writer
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


class LocalStore:
    """One folder, open; see `rag.index.store.Store`. A search sees the last commit before it.

    Attributes:
        folder: The folder.
        embedder: Id of the embedder that makes its vectors.
        dim: Length of a vector.
        reader: What searches read.
    """

    def __init__(self, folder: Path, reader: Reader, writer: Writer | None = None) -> None:
        self.folder = folder
        self.reader = reader
        self._writer = writer
        with reader.vectors() as (_, snapshot):
            self.embedder = snapshot.state.embedder
            self.dim = snapshot.state.dim

    @classmethod
    def reading(cls, folder: Path) -> Self:
        """Open for reading; see `Address.open`."""
        database = open_database(folder)
        try:
            return cls(folder, Reader(folder, database, writing=False))
        except BaseException:
            database.close()
            raise

    @classmethod
    def writing(
        cls, folder: Path, embedder: str, dim: int, *, create: bool, embed: Embed | None
    ) -> Self:
        """Open for writing; see `Address.writer`."""
        writer = Writer(folder, embedder=embedder, dim=dim, create=create, embed=embed)
        try:
            return cls(folder, writer.reader, writer)
        except BaseException:
            writer.close()
            raise

    def known(self, uris: Sequence[str]) -> dict[str, Source]:
        """See `Store`."""
        with self.reader.database.connection() as connection:
            return tables.known(connection, uris)

    def sources(self) -> Iterator[Source]:
        """See `Store`."""
        with self.reader.database.connection() as connection:
            return iter(tables.sources(connection))

    def stored(self, uri: str) -> dict[str, str]:
        """See `Store`."""
        with self.reader.database.connection() as connection:
            return tables.stored_chunks(connection, uri)

    def vectors_of_equal(self, chunks: Sequence[Chunk]) -> dict[int, np.ndarray]:
        """See `Store`: some look-ups in SQLite for each text."""
        import numpy as np

        with self.reader.vectors() as (connection, snapshot):
            found = {at: tables.row_of_equal(connection, one) for at, one in enumerate(chunks)}
            rows = {at: row for at, row in found.items() if row is not None}
            positions = snapshot.positions(np.array([*rows.values()], dtype=np.int64))
            return {
                at: snapshot.matrix[position] for at, position in zip(rows, positions, strict=True)
            }

    def write(self, updates: Sequence[SourceUpdate]) -> WriteReport:
        """See `Store`; all sources in one commit.

        A chunk that is stored already keeps its row and vector and takes the new metadata.
        """
        return self._writing().write(updates)

    def delete(self, uris: Sequence[str]) -> int:
        """See `Store`; all sources in one commit."""
        return self._writing().delete(uris)

    def index_metadata(self, keys: Sequence[str]) -> None:
        """See `Store`: the values are in a table of their own."""
        self._writing().index_metadata(keys)

    def dense(self, vector: np.ndarray, k: int, where: Where) -> list[Hit]:
        """See `Store`."""
        return search.dense(self.reader, vector, k, where)

    def sparse(self, query: str, k: int, where: Where) -> list[Hit]:
        """See `Store`."""
        return search.sparse(self.reader, query, k, where)

    def hybrid(
        self, query: str, vector: np.ndarray, k: int, depth: int, score: Score, where: Where
    ) -> list[Hit]:
        """See `Store`."""
        return search.hybrid(self.reader, query, vector, k, depth, score, where)

    def dense_sources(
        self, vector: np.ndarray, k: int, aggregate: Aggregate, where: Where
    ) -> list[Hit]:
        """See `Store`."""
        return search.by_source(self.reader, vector, k, aggregate, where)

    def of_source(self, uri: str) -> list[Chunk]:
        """See `Store`."""
        with self.reader.database.connection() as connection:
            return tables.chunks_of(connection, uri)

    def get(self, ids: Sequence[str]) -> list[Chunk]:
        """See `Store`."""
        with self.reader.database.connection() as connection:
            return tables.by_id(connection, ids)

    def batches(self, count: int) -> Iterator[list[Chunk]]:
        """See `Store`."""
        import numpy as np

        with self.reader.vectors() as (connection, snapshot):
            rows = snapshot.rows(np.flatnonzero(snapshot.live.mask))
            for start in range(0, len(rows), count):
                yield tables.fetch(connection, rows[start : start + count])

    def version(self) -> str:
        """See `Store`: the number of the last commit."""
        with self.reader.vectors() as (_, snapshot):
            return str(snapshot.state.seq)

    def stats(self) -> IndexStats:
        """See `Store`."""
        return stats(self.reader, self.embedder, self.dim)

    def embed_again(self, embedder: str, dim: int, embed: Embed) -> None:
        """See `Store`: it needs space for both, and a crash leaves either."""
        self._writing().embed_again(embedder, dim, embed)

    def compact(self) -> None:
        """See `Store`; readers are not blocked.

        New files are written beside the old ones and one commit switches to them, so it needs
        space for both for a while, and a crash leaves either.
        """
        self._writing().compact()

    def verify(self) -> list[IndexProblem]:
        """See `Store`: what differs from the checksums of when it was written."""
        return problems(self.reader)

    def rebuild(self) -> list[str]:
        """See `Store`: BM25, vectors, what models derived; see `Writer.rebuild`."""
        lost = self._writing().rebuild()
        forget_derived(self.folder)
        return lost

    def close(self) -> None:
        """Close the files and release the writer's lock."""
        if self._writer is not None:
            self._writer.close()
        self.reader.database.close()

    def _writing(self) -> Writer:
        if self._writer is None:
            raise IndexStateError(
                "the index is open for reading", where=str(self.folder), fix="use Index.writer"
            )
        return self._writer
