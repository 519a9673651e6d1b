"""Several indexes searched as one, and an index of which a reader may see a part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import IndexStateError
from rag.index.store import Embed, Score, Store, Where, other_embedder
from rag.index.types import Aggregate, Candidates, Hit, IndexProblem, IndexStats
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

    from rag.index.types import Source, SourceUpdate, WriteReport

COLLECTION = "collection"
"""The metadata key with the name of the store that a chunk is of."""
ACCESS = "access"
"""The metadata key with the group or user that may see a document, or a list of these. Without it
everybody may see the document; nobody may if it is an empty list, or anything else."""


class ReadOnlyStore:
    """What a store that is put together from others cannot do."""

    def vectors_of_equal(self, chunks: Sequence[Chunk]) -> dict[int, np.ndarray]:
        """See `Store`."""
        raise _read_only()

    def write(self, updates: Sequence[SourceUpdate]) -> WriteReport:
        """See `Store`."""
        raise _read_only()

    def delete(self, uris: Sequence[str]) -> int:
        """See `Store`."""
        raise _read_only()

    def index_metadata(self, keys: Sequence[str]) -> None:
        """See `Store`."""
        raise _read_only()

    def embed_again(self, embedder: str, dim: int, embed: Embed) -> None:
        """See `Store`."""
        raise _read_only()

    def compact(self) -> None:
        """See `Store`."""
        raise _read_only()

    def verify(self) -> list[IndexProblem]:
        """See `Store`."""
        raise _read_only()

    def rebuild(self) -> list[str]:
        """See `Store`."""
        raise _read_only()


class UnionStore(ReadOnlyStore):
    """The chunks of several stores, searched together; see `Store`.

    Cosines are comparable between stores of one embedder. BM25 weighs a word by how rare it is in
    its own store. `hybrid` orders the candidates of all stores by one score, so that the best of a
    small store does not count as much as the best of a large one.

    Args:
        stores: Name to store, which whoever opened it closes. Chunks have the name as `collection`
            in their metadata. The first one's come first where scores are equal, and its sources
            where URIs are.
        embedder: Id of the embedder of all of them.
        dim: Length of its vectors.
        folder: See `Store.folder`; of no other set of stores.

    Raises:
        IndexStateError: A store was made with another embedder.
    """

    def __init__(self, stores: Mapping[str, Store], embedder: str, dim: int, folder: Path) -> None:
        self._stores = tuple(_Labelled(name, store) for name, store in stores.items())
        self.embedder, self.dim, self.folder = embedder, dim, folder
        for one in self._stores:
            if (one.embedder, one.dim) != (embedder, dim):
                raise other_embedder((one.embedder, one.dim), (embedder, dim), where="index")

    def known(self, uris: Sequence[str]) -> dict[str, Source]:
        """See `Store`."""
        return {
            uri: source for one in reversed(self._stores) for uri, source in one.known(uris).items()
        }

    def sources(self) -> Iterator[Source]:
        """See `Store`."""
        last = None
        for source in merge(*(one.sources() for one in self._stores), key=lambda found: found.uri):
            if source.uri != last:
                yield source
            last = source.uri

    def stored(self, uri: str) -> dict[str, str]:
        """See `Store`."""
        return next((found for one in self._stores if (found := one.stored(uri))), {})

    def dense(self, vector: np.ndarray, k: int, where: Where) -> list[Hit]:
        """See `Store`."""
        return self._best(k, [one.dense(vector, k, where) for one in self._stores])

    def sparse(self, query: str, k: int, where: Where) -> list[Hit]:
        """See `Store`."""
        return self._best(k, [one.sparse(query, k, where) for one in self._stores])

    def dense_sources(
        self, vector: np.ndarray, k: int, aggregate: Aggregate, where: Where
    ) -> list[Hit]:
        """See `Store`."""
        found = [one.dense_sources(vector, k, aggregate, where) for one in self._stores]
        return self._best(k, found)

    def hybrid(
        self, query: str, vector: np.ndarray, k: int, depth: int, score: Score, where: Where
    ) -> list[Hit]:
        """See `Store`."""
        import numpy as np

        hits: list[Hit] = []
        parts: list[Candidates] = []

        def collect(found: Candidates) -> np.ndarray:
            parts.append(found)
            return -np.arange(len(found.dense), dtype=np.float64)  # the hits come in this order

        for one in self._stores:
            hits += one.hybrid(query, vector, 2 * depth, depth, collect, where)
        if not hits:
            return []
        names = ("dense", "sparse", "vectors")
        together = Candidates(*(np.concatenate([getattr(one, n) for one in parts]) for n in names))
        scores = score(together)
        best = np.argsort(-scores, kind="stable")[:k]
        return [Hit(hits[n].chunk, float(scores[n]), hits[n].parts) for n in best]

    def of_source(self, uri: str) -> list[Chunk]:
        """See `Store`."""
        return next((found for one in self._stores if (found := one.of_source(uri))), [])

    def get(self, ids: Sequence[str]) -> list[Chunk]:
        """See `Store`."""
        found = {chunk.id: chunk for one in reversed(self._stores) for chunk in one.get(ids)}
        return [found[key] for key in ids if key in found]

    def batches(self, count: int) -> Iterator[list[Chunk]]:
        """See `Store`."""
        for one in self._stores:
            yield from one.batches(count)

    def version(self) -> str:
        """See `Store`."""
        return _digest([str(self.folder), *(one.version() for one in self._stores)])

    def stats(self) -> IndexStats:
        """See `Store`."""
        raise IndexStateError("several indexes have no statistics in common", where="index")

    def close(self) -> None:
        """Do nothing: whoever opened the stores closes them."""

    @staticmethod
    def _best(k: int, found: Sequence[list[Hit]]) -> list[Hit]:
        return sorted((hit for hits in found for hit in hits), key=lambda hit: -hit.score)[:k]


class _Labelled:
    """What a union reads of one of its stores, the store's name in the metadata."""

    def __init__(self, name: str, store: Store) -> None:
        self._name = name
        self.embedder, self.dim = store.embedder, store.dim
        self.known, self.sources, self.stored = store.known, store.sources, store.stored
        self.version = store.version
        self._store = store

    def dense(self, vector: np.ndarray, k: int, where: Where) -> list[Hit]:
        return self._hits(self._store.dense(vector, k, where))

    def sparse(self, query: str, k: int, where: Where) -> list[Hit]:
        return self._hits(self._store.sparse(query, k, where))

    def dense_sources(
        self, vector: np.ndarray, k: int, aggregate: Aggregate, where: Where
    ) -> list[Hit]:
        return self._hits(self._store.dense_sources(vector, k, aggregate, where))

    def hybrid(
        self, query: str, vector: np.ndarray, k: int, depth: int, score: Score, where: Where
    ) -> list[Hit]:
        return self._hits(self._store.hybrid(query, vector, k, depth, score, where))

    def of_source(self, uri: str) -> list[Chunk]:
        return self._chunks(self._store.of_source(uri))

    def get(self, ids: Sequence[str]) -> list[Chunk]:
        return self._chunks(self._store.get(ids))

    def batches(self, count: int) -> Iterator[list[Chunk]]:
        return map(self._chunks, self._store.batches(count))

    def _hits(self, hits: Sequence[Hit]) -> list[Hit]:
        return [replace(hit, chunk=self._chunk(hit.chunk)) for hit in hits]

    def _chunks(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        return [self._chunk(chunk) for chunk in chunks]

    def _chunk(self, chunk: Chunk) -> Chunk:
        return replace(chunk, metadata={**chunk.metadata, COLLECTION: self._name})


class RestrictedStore(ReadOnlyStore):
    """The chunks of a store that some groups may see; see `Store`.

    Args:
        store: All chunks.
        groups: Chunks whose metadata has `access` are seen if it is one of these, or has one.
        folder: See `Store.folder`; of no other part.
    """

    def __init__(self, store: Store, groups: frozenset[str], folder: Path) -> None:
        self._store, self._groups = store, groups
        self._allowed = {ACCESS: {"$in": [None, *sorted(groups)]}}
        self.embedder, self.dim, self.folder = store.embedder, store.dim, folder

    def known(self, uris: Sequence[str]) -> dict[str, Source]:
        """See `Store`."""
        return {u: found for u, found in self._store.known(uris).items() if self.of_source(u)}

    def sources(self) -> Iterator[Source]:
        """See `Store`."""
        return (source for source in self._store.sources() if self.of_source(source.uri))

    def stored(self, uri: str) -> dict[str, str]:
        """See `Store`."""
        seen = {chunk.id for chunk in self.of_source(uri)}
        return {key: text for key, text in self._store.stored(uri).items() if key in seen}

    def dense(self, vector: np.ndarray, k: int, where: Where) -> list[Hit]:
        """See `Store`."""
        return self._store.dense(vector, k, self._within(where))

    def sparse(self, query: str, k: int, where: Where) -> list[Hit]:
        """See `Store`."""
        return self._store.sparse(query, k, self._within(where))

    def dense_sources(
        self, vector: np.ndarray, k: int, aggregate: Aggregate, where: Where
    ) -> list[Hit]:
        """See `Store`."""
        return self._store.dense_sources(vector, k, aggregate, self._within(where))

    def hybrid(
        self, query: str, vector: np.ndarray, k: int, depth: int, score: Score, where: Where
    ) -> list[Hit]:
        """See `Store`."""
        return self._store.hybrid(query, vector, k, depth, score, self._within(where))

    def of_source(self, uri: str) -> list[Chunk]:
        """See `Store`."""
        return self._seen(self._store.of_source(uri))

    def get(self, ids: Sequence[str]) -> list[Chunk]:
        """See `Store`."""
        return self._seen(self._store.get(ids))

    def batches(self, count: int) -> Iterator[list[Chunk]]:
        """See `Store`."""
        for batch in self._store.batches(count):
            if seen := self._seen(batch):
                yield seen

    def version(self) -> str:
        """See `Store`."""
        return _digest([str(self.folder), self._store.version(), *sorted(self._groups)])

    def stats(self) -> IndexStats:
        """See `Store`."""
        raise IndexStateError("a part of an index has no statistics", where="index")

    def close(self) -> None:
        """Do nothing: whoever opened the store closes it."""

    def _within(self, where: Where) -> Mapping[str, Any]:
        return {"$and": [self._allowed, where]} if where else self._allowed

    def _seen(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        return [chunk for chunk in chunks if may_see(chunk.metadata, self._groups)]


def may_see(metadata: Mapping[str, Any], groups: frozenset[str]) -> bool:
    """Whether one of the groups may see what has this metadata."""
    access = metadata.get(ACCESS)
    if access is None:
        return True
    among = access if isinstance(access, list) else [access]
    return any(isinstance(one, str) and one in groups for one in among)


def _read_only() -> IndexStateError:
    return IndexStateError(
        "several indexes, or a part of one, are open for reading only", where="index",
        fix="write to one of them",
    )  # fmt: skip


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
