"""The index: retrievers search it, the ingest fills it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rag.errors import ConfigError, IndexStateError, RagError
from rag.flow.resources import Resource, parse
from rag.index.address import address_of
from rag.index.attention import refuse_foreign
from rag.index.local.address import FolderAddress
from rag.index.source_plan import make_plan
from rag.index.spec import IndexSpec, root_of
from rag.index.store import Address, Store
from rag.index.tokens import TokenVectors
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
    """Chunks, their vectors and what their words are found by, in a store.

    `Index.open` opens it for searching, `Index.writer` for writing. Where it is stored, in a
    folder or on a server that several machines share, is the matter of its `Store`: an index in a
    folder takes one writing process at a time, and none blocks its readers. A search sees the last
    commit before it started. Any number of threads may search one index; writes are serialized.

    Attributes:
        address: Where it is.
        embedder: Id of the embedder that makes its vectors.
        dim: Length of a vector.
        folder: Where this machine stores what is computed from the index.
        root: The folder that files are named relative to, where a pipeline says it.
        tokens: Token vectors of its chunks that are kept.
    """

    default = "./index"
    Spec = IndexSpec
    shorthand = "path"

    def __init__(self, address: Address, store: Store, root: Path | None = None) -> None:
        self.address, self._store, self.root = address, store, root
        self.embedder, self.dim, self.folder = store.embedder, store.dim, store.folder
        self.tokens = TokenVectors(store.folder if isinstance(address, FolderAddress) else None)

    @classmethod
    def open(cls, spec: IndexSpec | Address | Path | str, *, base: Path = Path()) -> Self:
        """Open an index for reading. A folder need not be writable.

        Args:
            spec: What a pipeline says of it, its folder, or its address.
            base: The folder that a relative path starts from.

        Raises:
            ConfigError: There is no such kind of store.
            IndexStateError: There is no index, or it is unfinished, damaged or of another format,
                or its server cannot be reached.
        """
        address = address_of(spec, base)
        return cls(address, address.open(), root_of(spec, base))

    @classmethod
    def absent(cls, spec: Any, *, base: Path) -> RagError | None:
        """There is no index yet where the pipeline says, as far as can be seen from here."""
        try:
            return address_of(parse(cls, spec), base).absent()
        except ConfigError as error:
            return error

    @classmethod
    def writer(
        cls,
        where: Address | Path | str,
        *,
        embedder: str,
        dim: int,
        create: bool = True,
        embed: Callable[[Sequence[Chunk]], np.ndarray] | None = None,
    ) -> Self:
        """Open an index for writing, and finish what an earlier writer left unfinished.

        What is derived from the stored chunks and cannot be used is made again.

        Args:
            where: The folder, made if missing, or the address.
            embedder: Id of the embedder whose vectors will be written.
            dim: Length of its vectors.
            create: Make an empty index where there is none.
            embed: Chunks to float32 [chunks, dim] (`rag.index.embedding.embed_chunks`); without
                it vectors that are lost stay lost.

        Raises:
            ConfigError: There is no such kind of store.
            IndexStateError: It was made with another embedder, it is damaged, the folder holds
                something else or another process writes to it, or the server cannot be reached.
        """
        address = address_of(where)
        return cls(address, address.writer(embedder, dim, create=create, embed=embed))

    def source(self, uri: str) -> Source | None:
        """What the index knows of a source; None if it holds nothing of it."""
        return next(iter(self.known([uri]).values()), None)

    def known(self, uris: Iterable[str]) -> dict[str, Source]:
        """What the index knows of sources, by URI; those that it does not hold are missing."""
        return self._store.known([escape_surrogates(uri) for uri in uris])

    def sources(self) -> Iterator[Source]:
        """All sources, by URI."""
        return self._store.sources()

    def plan(self, uri: str, chunks: Sequence[Chunk]) -> SourcePlan:
        """What has to change so that a source consists of the chunks given.

        A chunk needs a vector if none with the same content and indexed text
        (`Chunk.indexed_text`) is stored for this source.

        Args:
            uri: The source.
            chunks: All of its chunks, in order.
        """
        uri = escape_surrogates(uri)
        return make_plan(uri, self._store.stored(uri), chunks)

    def vectors_of_equal(self, chunks: Sequence[Chunk]) -> dict[int, np.ndarray]:
        """The vectors that the index has of equal texts; see `Store.vectors_of_equal`."""
        return self._store.vectors_of_equal(chunks)

    def write(self, updates: Sequence[SourceUpdate]) -> WriteReport:
        """Carry out plans, each source's at once or not at all.

        A chunk that is stored already keeps its vector and takes the new metadata; one that is no
        longer given is deleted. A source that was changed since it was planned stays as it is:
        see `WriteReport.changed`.

        Raises:
            IndexStateError: The index is open for reading only, or the disk, the server or the
                network failed; no source is half written then.
            ValueError: An update's vectors do not fit its plan.
        """
        report = self._store.write(updates)
        self.tokens.drop_replaced(updates, report)
        return report

    def delete(self, uris: Iterable[str]) -> int:
        """Remove sources, unknown ones ignored, and return the number of chunks removed."""
        gone = [escape_surrogates(uri) for uri in uris]
        if self.tokens.there:
            self.tokens.drop(one.id for uri in gone for one in self._store.of_source(uri))
        return self._store.delete(gone)

    def index_metadata(self, keys: Iterable[str]) -> None:
        """Make these the metadata keys whose values have an index, for filters.

        Args:
            keys: Of metadata; those that had an index before and are not among them lose it.

        Raises:
            IndexStateError: The index is open for reading only, or the disk failed.
        """
        self._store.index_metadata([escape_surrogates(key) for key in keys])

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
        return [] if k < 1 else self._store.dense(query, k, where)

    def _query(self, vector: np.ndarray, embedder: str | None) -> np.ndarray:
        """The vector as float32 [dim] of unit length, checked."""
        import numpy as np

        query = np.asarray(vector, dtype=np.float32).reshape(-1)
        if (embedder or self.embedder) != self.embedder or len(query) != self.dim:
            raise IndexStateError(
                f"a vector of {embedder or 'an unnamed embedder'} ({len(query)} dimensions) cannot"
                f" search an index made with {self.embedder} ({self.dim} dimensions)",
                where=str(self.address),
                fix=f"use the embedder {self.embedder}, or ingest again with the other one",
            )
        length = float(np.linalg.norm(query))
        return query / np.float32(length) if length else query

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
        return [] if k < 1 else self._store.sparse(query, k, where)

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

        Args and errors as `dense`; `aggregate`, if learned of the same embedder, makes the scores.
        """
        query = self._query(vector, embedder)
        refuse_foreign(aggregate, self.embedder)
        return [] if k < 1 else self._store.dense_sources(query, k, aggregate, where)

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
        return self._store.hybrid(query, unit_vector, k, depth, score, where)

    def of_source(self, uri: str) -> list[Chunk]:
        """All chunks of a source, in the order of its text; none of an unknown one."""
        return self._store.of_source(escape_surrogates(uri))

    def get(self, ids: Sequence[str]) -> list[Chunk]:
        """The chunks of these ids, in that order; unknown ids are passed over."""
        return self._store.get([escape_surrogates(key) for key in ids])

    def batches(self, count: int) -> Iterator[list[Chunk]]:
        """All chunks in the order of insertion, in batches of `count`."""
        return self._store.batches(count)

    def version(self) -> str:
        """Changes with every write: search results may then differ."""
        return self._store.version()

    def stats(self) -> IndexStats:
        """Counts and sizes as of the last commit."""
        return self._store.stats()

    def embed_again(
        self, embedder: str, dim: int, embed: Callable[[Sequence[Chunk]], np.ndarray]
    ) -> None:
        """Replace all vectors by those of another embedder, at once or not at all.

        Open the index again behind it, as every reader must. See `rag.index.ingest.reembed`.

        Args:
            embedder: Id of the embedder.
            dim: Length of its vectors.
            embed: Called with all chunks.

        Raises:
            IndexStateError: The index is open for reading only, or the disk or server failed.
        """
        self._store.embed_again(embedder, dim, embed)
        self.tokens.clear()

    def compact(self) -> None:
        """Reclaim the space of deleted chunks; readers are not blocked.

        Raises:
            IndexStateError: The index is open for reading only, or the disk failed.
        """
        self._store.compact()

    def verify(self) -> list[IndexProblem]:
        """What is not as it was written, or does not fit together; reads everything."""
        return self._store.verify()

    def rebuild(self) -> list[str]:
        """Make anew what can be: BM25, vectors, what models derived.

        Returns:
            The sources whose texts were damaged, which are forgotten: ingest them again.
        """
        return self._store.rebuild()

    def close(self) -> None:
        """Release what is held: files, a writer's lock, connections."""
        self._store.close()
