"""The index: retrievers search it, the ingest fills it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rag.errors import ConfigError, IndexStateError, RagError
from rag.flow.resources import Resource, parse
from rag.index.local import search, tables
from rag.index.local.database import FILE
from rag.index.local.derived_table import forget_derived
from rag.index.local.plan import make_plan
from rag.index.local.reader import Reader, open_database
from rag.index.local.stats import stats
from rag.index.local.vectors import unit
from rag.index.local.verify import problems
from rag.index.local.writer import Writer
from rag.index.spec import IndexSpec, folder_of
from rag.index.types import (
    Aggregate,
    Candidates,
    Hit,
    IndexProblem,
    IndexStats,
    Source,
    SourcePlan,
    SourceUpdate,
    WriteReport,
)
from rag.text.chunk import Chunk
from rag.text.surrogates import escape_surrogates

if TYPE_CHECKING:
    import numpy as np


class Index(Resource):
    """Chunks, their vectors and a BM25 index, in one folder.

    `Index.open` opens it for searching, `Index.writer` for writing. One process at a time may
    write; readers are never blocked. A search sees the last commit before it started. Any number
    of threads may search one index; writes are serialized.

    Attributes:
        path: The folder.
        embedder: Id of the embedder that makes its vectors.
        dim: Length of a vector.
    """

    default = "./index"
    Spec = IndexSpec
    shorthand = "path"

    def __init__(self, path: Path, reader: Reader, writer: Writer | None = None) -> None:
        self.path = path
        self._reader = reader
        self._writer = writer
        with reader.vectors() as (_, snapshot):
            self.embedder = snapshot.state.embedder
            self.dim = snapshot.state.dim

    @classmethod
    def open(cls, spec: IndexSpec | Path | str, *, base: Path = Path()) -> Self:
        """Open an index for reading. Its folder need not be writable.

        Args:
            spec: What a pipeline says of it, or its folder.
            base: The folder that a relative path starts from.

        Raises:
            IndexStateError: There is none, or it is unfinished, damaged or of a later format.
        """
        path = folder_of(spec, base)
        database = open_database(path)
        try:
            return cls(path, Reader(path, database, writing=False))
        except BaseException:
            database.close()
            raise

    @classmethod
    def absent(cls, spec: Any, *, base: Path) -> RagError | None:
        """There is no index yet where the pipeline says."""
        try:
            path = folder_of(parse(cls, spec), base)
        except ConfigError as error:
            return error
        if (path / FILE).is_file():
            return None
        return IndexStateError("there is no index here", where=str(path), fix="rag ingest PATH")

    @classmethod
    def writer(
        cls,
        path: Path,
        *,
        embedder: str,
        dim: int,
        create: bool = True,
        embed: Callable[[Sequence[Chunk]], np.ndarray] | None = None,
    ) -> Self:
        """Open an index for writing, and finish what an earlier writer left unfinished.

        What is derived from the stored chunks and cannot be used is made again.

        Args:
            path: The folder; made if missing.
            embedder: Id of the embedder whose vectors will be written.
            dim: Length of its vectors.
            create: Make an empty index where there is none.
            embed: Chunks to float32 [chunks, dim] (`rag.index.embedding.embed_chunks`); without
                it vectors that are lost stay lost.

        Raises:
            IndexStateError: Another process writes to it, it was made with another embedder, the
                folder holds something else, or it is damaged.
        """
        path = Path(path)
        writer = Writer(path, embedder=embedder, dim=dim, create=create, embed=embed)
        try:
            return cls(path, writer.reader, writer)
        except BaseException:
            writer.close()
            raise

    def source(self, uri: str) -> Source | None:
        """What the index knows of a source; None if it holds nothing of it."""
        with self._reader.database.connection() as connection:
            return tables.source(connection, escape_surrogates(uri))

    def sources(self) -> Iterator[Source]:
        """All sources, by URI."""
        with self._reader.database.connection() as connection:
            return iter(tables.sources(connection))

    def plan(self, uri: str, chunks: Sequence[Chunk]) -> SourcePlan:
        """What has to change so that a source consists of the chunks given.

        A chunk needs a vector if none with the same content and indexed text
        (`Chunk.indexed_text`) is stored for this source.

        Args:
            uri: The source.
            chunks: All of its chunks, in order.
        """
        with self._reader.database.connection() as connection:
            return make_plan(connection, escape_surrogates(uri), chunks)

    def write(self, updates: Sequence[SourceUpdate]) -> WriteReport:
        """Carry out plans, all in one commit.

        A chunk that is stored already keeps its row and vector and takes the new metadata; one
        that is no longer given is deleted.

        Raises:
            IndexStateError: The index is open for reading only, or the disk failed; nothing was
                changed then.
            ValueError: An update's vectors do not fit its plan, or its source was changed since
                it was planned.
        """
        return self._writing().write(updates)

    def delete(self, uris: Iterable[str]) -> int:
        """Remove sources in one commit; unknown ones are ignored.

        Returns:
            The number of chunks removed.
        """
        return self._writing().delete(uris)

    def dense(
        self,
        vector: np.ndarray,
        k: int,
        *,
        where: Mapping[str, Any] | None = None,
        embedder: str | None = None,
    ) -> list[Hit]:
        """The chunks nearest to a vector by cosine.

        Args:
            vector: float32 [dim] or [1, dim].
            k: How many.
            where: A metadata filter, as in `rag.index.filters`.
            embedder: Id of the embedder that made the vector; it must be the index's.

        Returns:
            At most k hits by falling score, ties in the order of insertion; fewer only
            if there are no more.

        Raises:
            IndexStateError: The vector is of another embedder or length, or the index is damaged.
            InputError: The filter is wrong.
        """
        query = self._query(vector, embedder)
        return [] if k < 1 else search.dense(self._reader, query, k, where)

    def _query(self, vector: np.ndarray, embedder: str | None) -> np.ndarray:
        """The vector as float32 [dim] of unit length, checked."""
        import numpy as np

        query = np.asarray(vector, dtype=np.float32).reshape(-1)
        if (embedder or self.embedder) != self.embedder or len(query) != self.dim:
            raise IndexStateError(
                f"a vector of {embedder or 'an unnamed embedder'} ({len(query)} dimensions) cannot"
                f" search an index made with {self.embedder} ({self.dim} dimensions)",
                where=str(self.path),
                fix=f"use the embedder {self.embedder}, or ingest again with the other one",
            )
        checked: np.ndarray = unit(query[None], self.dim)[0]
        return checked

    def sparse(self, query: str, k: int, *, where: Mapping[str, Any] | None = None) -> list[Hit]:
        """The chunks that match the words of a query best, by BM25.

        Args:
            query: Plain text; nothing in it is syntax.
            k: How many.
            where: A metadata filter, as in `rag.index.filters`.

        Returns:
            At most k hits by falling score, ties in the order of insertion; fewer only
            if no more share a word with the query.

        Raises:
            IndexStateError: The index is damaged.
            InputError: The filter is wrong.
        """
        return [] if k < 1 else search.sparse(self._reader, query, k, where)

    def dense_sources(
        self,
        vector: np.ndarray,
        k: int,
        *,
        aggregate: Aggregate = "mean",
        where: Mapping[str, Any] | None = None,
        embedder: str | None = None,
    ) -> list[Hit]:
        """The sources nearest to a vector by all of their chunks, of each the nearest chunk.

        Args and errors as `dense`; `aggregate` makes a source's score of its chunks' vectors.
        """
        query = self._query(vector, embedder)
        return [] if k < 1 else search.by_source(self._reader, query, k, aggregate, where)

    def hybrid(
        self,
        query: str,
        vector: np.ndarray,
        k: int,
        *,
        depth: int,
        score: Callable[[Candidates], np.ndarray],
        where: Mapping[str, Any] | None = None,
        embedder: str | None = None,
    ) -> list[Hit]:
        """The best of what `dense` and `sparse` find, ordered by the caller's score.

        Args:
            query: As for `sparse`.
            vector: As for `dense`.
            k: How many.
            depth: How many either search finds; at most 2500.
            score: Candidates to the scores that they are ordered by: float [n].
            where: A metadata filter, as in `rag.index.filters`.
            embedder: Id of the embedder that made the vector; it must be the index's.

        Returns:
            At most k hits by falling score, ties in the order of insertion, with the
            parts `dense` and `bm25` of their score.

        Raises:
            IndexStateError: As `dense` and `sparse`.
            InputError: The filter is wrong.
        """
        unit_vector = self._query(vector, embedder)
        return search.hybrid(self._reader, query, unit_vector, k, depth, score, where)

    def of_source(self, uri: str) -> list[Chunk]:
        """All chunks of a source, in the order of its text.

        Args:
            uri: The source; an unknown one has no chunks.
        """
        with self._reader.database.connection() as connection:
            return tables.chunks_of(connection, escape_surrogates(uri))

    def get(self, ids: Sequence[str]) -> list[Chunk]:
        """The chunks of these ids, in that order; unknown ids are passed over."""
        with self._reader.database.connection() as connection:
            return tables.by_id(connection, ids)

    def batches(self, count: int) -> Iterator[list[Chunk]]:
        """All chunks in the order of insertion, in batches of `count`."""
        import numpy as np

        with self._reader.vectors() as (connection, snapshot):
            rows = np.sort(snapshot.rows[snapshot.live])
            for start in range(0, len(rows), count):
                yield tables.fetch(connection, rows[start : start + count])

    def version(self) -> str:
        """The number of the last commit: search results may change with it."""
        with self._reader.vectors() as (_, snapshot):
            return str(snapshot.state.seq)

    def stats(self) -> IndexStats:
        """Counts and sizes as of the last commit."""
        return stats(self._reader, self.embedder, self.dim)

    def compact(self) -> None:
        """Reclaim the space of deleted chunks; readers are not blocked.

        New files are written beside the old ones and one commit switches to them, so it needs
        space for both for a while, and a crash leaves either.

        Raises:
            IndexStateError: The index is open for reading only, or the disk failed.
        """
        self._writing().compact()

    def verify(self) -> list[IndexProblem]:
        """What differs from the checksums of when it was written; reads everything."""
        return problems(self._reader)

    def rebuild(self) -> list[str]:
        """Make anew what can be: BM25, vectors, what models derived; see `Writer.rebuild`.

        Returns:
            The sources whose texts were damaged, which are forgotten: ingest them again.
        """
        lost = self._writing().rebuild()
        forget_derived(self.path)
        return lost

    def close(self) -> None:
        """Close the files and release the writer's lock."""
        if self._writer is not None:
            self._writer.close()
        self._reader.database.close()

    def _writing(self) -> Writer:
        if self._writer is None:
            raise IndexStateError(
                "the index is open for reading", where=str(self.path), fix="use Index.writer"
            )
        return self._writer
