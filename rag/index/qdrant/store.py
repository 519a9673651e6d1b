"""The store in Qdrant, for any number of machines at once.

Vectors are searched by Qdrant's HNSW, words as sparse vectors with BM25's weights. Without
transactions a source is switched from one generation of points to the next: see `sources`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rag.errors import IndexStateError
from rag.index.qdrant.client import EQUAL, Client
from rag.index.qdrant.location import Location
from rag.index.qdrant.reembed import embed_again, sweep
from rag.index.qdrant.search import Search
from rag.index.qdrant.sources import Sources
from rag.index.qdrant.write import Writer
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

_ABOUT = ["id", "source", "generation", "number", "order"]


class QdrantStore:
    """One collection, open; see `rag.index.store.Store`.

    Attributes:
        location: Where it is.
        embedder: Id of the embedder that makes its vectors.
        dim: Length of a vector.
        folder: In the user's cache folder.
    """

    def __init__(
        self, location: Location, client: Client, made: tuple[str, int], *, write: bool
    ) -> None:
        self.location = location
        self.embedder, self.dim = made
        self.folder: Path = derived_folder(location.key)
        self._client = client
        self._sources = Sources(client)
        self._search = Search(client, self._sources)
        self._writer = Writer(client, self._sources, self._search, self.dim)
        self._write = write

    @classmethod
    def opened(
        cls, location: Location, wanted: tuple[str, int] | None = None, *, create: bool = False
    ) -> Self:
        """Open it, for writing with an embedder (id, dimensions) or for reading.

        Raises:
            IndexStateError: See `Address.open` and `Address.writer`.
        """
        client = Client(location)
        try:
            if create and wanted is not None:
                client.create(*wanted)
            made = client.check(wanted)
            if wanted is not None:
                client.index_field(EQUAL)  # an earlier version has made none
            return cls(location, client, made, write=wanted is not None)
        except BaseException:
            client.close()
            raise

    def known(self, uris: Sequence[str]) -> dict[str, Source]:
        """See `Store`."""
        return {uri: entry.source for uri, entry in self._sources.get(uris).items()}

    def sources(self) -> Iterator[Source]:
        """See `Store`."""
        return iter(sorted((one.source for one in self._sources.all()), key=lambda one: one.uri))

    def stored(self, uri: str) -> dict[str, str]:
        """See `Store`."""
        return self._writer.stored(uri)

    def vectors_of_equal(self, chunks: Sequence[Chunk]) -> dict[int, np.ndarray]:
        """See `Store`; by a digest of the indexed text in the payload."""
        return self._search.vectors_of_equal(chunks)

    def write(self, updates: Sequence[SourceUpdate]) -> WriteReport:
        """See `Store`; each source by one switch."""
        return self._writing().write(updates)

    def delete(self, uris: Sequence[str]) -> int:
        """See `Store`; each source by one switch."""
        return self._writing().delete(uris)

    def index_metadata(self, keys: Sequence[str]) -> None:
        """See `Store`; an index that is there stays."""
        self._writing()
        self._search.index_metadata(keys)

    def dense(self, vector: np.ndarray, k: int, where: Where) -> list[Hit]:
        """See `Store`; by HNSW, approximate where there are many chunks."""
        return self._search.dense(vector, k, where)

    def sparse(self, query: str, k: int, where: Where) -> list[Hit]:
        """See `Store`."""
        return self._search.sparse(query, k, where)

    def hybrid(
        self, query: str, vector: np.ndarray, k: int, depth: int, score: Score, where: Where
    ) -> list[Hit]:
        """See `Store`."""
        return self._search.hybrid(query, vector, k, depth, score, where)

    def dense_sources(
        self, vector: np.ndarray, k: int, aggregate: Aggregate, where: Where
    ) -> list[Hit]:
        """See `Store`; reads all vectors."""
        return self._search.by_source(vector, k, aggregate, where)

    def of_source(self, uri: str) -> list[Chunk]:
        """See `Store`."""
        found = self._search.matching("source", [uri])
        return sorted(found, key=lambda chunk: chunk.position)

    def get(self, ids: Sequence[str]) -> list[Chunk]:
        """See `Store`."""
        chunks = {str(chunk.id): chunk for chunk in self._search.matching("id", ids)}
        return [chunks[key] for key in ids if key in chunks]

    def batches(self, count: int) -> Iterator[list[Chunk]]:
        """See `Store`."""
        points = self._search.current(None, _ABOUT)
        for start in range(0, len(points), count):
            yield self.get([point.payload["id"] for point in points[start : start + count]])

    def version(self) -> str:
        """See `Store`."""
        return self._sources.version()

    def stats(self) -> IndexStats:
        """See `Store`; what a killed write has left counts among the tombstones."""
        sources = list(self.sources())
        chunks = sum(source.chunks for source in sources)
        points = self._client("count", exact=True).count
        return IndexStats(
            address=str(self.location),
            sources=len(sources),
            chunks=chunks,
            tombstones=max(points - chunks, 0),
            bytes={},
            embedder=self.embedder,
            dim=self.dim,
            vectors="hnsw",
        )

    def embed_again(self, embedder: str, dim: int, embed: Embed) -> None:
        """See `Store`: into other collections, which then take the place of these."""
        self._writing()
        embed_again(self._client, embedder, dim, embed)

    def compact(self) -> None:
        """See `Store`."""
        self._writing().sweep()
        sweep(self._client)

    def verify(self) -> list[IndexProblem]:
        """See `Store`: whether sources have their points; the server checks its files itself."""
        points = self._search.current(None, _ABOUT)
        counts = Counter(point.payload["source"] for point in points)
        collection = self._client.current.collection
        found = [
            IndexProblem(
                collection, f"{one.uri} is to have {one.chunks} chunks and has {counts[one.uri]}"
            )
            for one in self.sources()
            if one.chunks != counts[one.uri]
        ]
        found += [
            IndexProblem(collection, f"a killed write left {len(ids)} points of {uri}")
            for uri, ids in self._writer.leftovers().items()
        ]
        return found

    def rebuild(self) -> list[str]:
        """See `Store`: words are weighed again; sources that lack chunks are forgotten."""
        writer = self._writing()
        writer.sweep()
        lost = [one.uri for one in self.sources() if one.chunks != len(self.stored(one.uri))]
        writer.delete(lost)
        writer.recount_words()
        return lost

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _writing(self) -> Writer:
        if not self._write:
            raise IndexStateError(
                "the index is open for reading", where=str(self.location), fix="use Index.writer"
            )
        return self._writer
