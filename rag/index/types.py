"""What goes into an index, what searches return, and what an index says about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from langchain_core.documents import Document

from rag.index.attention import LearnedAttention
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np


NamedAggregate = Literal["mean", "max", "attention"]
"""How the vectors of a source's chunks become its score. `mean`: the cosine with their mean.
`max`: the highest cosine. `attention`: the mean of the cosines, weighted by their softmax."""
Aggregate = NamedAggregate | LearnedAttention
"""The same, or as it was learned."""


@dataclass(frozen=True)
class Source:
    """A document as the index knows it.

    Attributes:
        uri: Where it came from; unique in the index.
        digest: Hash of its bytes as the ingest computed it; "" if it was never a file.
        size: Bytes.
        mtime_ns: Time of its last change, nanoseconds since the epoch.
        chunks: Chunks of it in the index.
    """

    uri: str
    digest: str
    size: int
    mtime_ns: int
    chunks: int


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk that is not stored yet, as it will be.

    Attributes:
        id: Unique in the index.
        metadata: JSON.
        text: The content.
        indexed: What is embedded, and indexed by BM25.
    """

    id: str
    metadata: str
    text: str
    indexed: str


@dataclass(frozen=True)
class SourcePlan:
    """What has to change so that a source consists of some chunks; made by `Index.plan`.

    Attributes:
        uri: The source.
        new: The chunks that need a vector, in order.
        renewed: Id and new metadata (JSON) of stored chunks whose metadata changed.
        kept: Ids of the stored chunks that stay, but for metadata.
        gone: Ids of those that go.
        basis: Digest of what was stored: the plan fits nothing else.
    """

    uri: str
    new: list[NewChunk]
    renewed: list[tuple[str, str]]
    kept: list[str]
    gone: list[str]
    basis: str

    @property
    def chunks(self) -> list[Chunk]:
        """The chunks of `new`, as they will be."""
        return [
            Chunk(one.text, {**json.loads(one.metadata), "source": self.uri}, one.id)
            for one in self.new
        ]

    @property
    def texts(self) -> list[str]:
        """What is to be embedded, one for each chunk of `new`."""
        return [chunk.indexed for chunk in self.new]


@dataclass(frozen=True)
class SourceUpdate:
    """A plan with its vectors, ready to be written.

    Attributes:
        plan: From `Index.plan`.
        vectors: float32 [len(plan.new), dim].
        digest: Hash of the source's bytes; "" if it is no file.
        size: Bytes.
        mtime_ns: Time of its last change, nanoseconds since the epoch.
    """

    plan: SourcePlan
    vectors: np.ndarray
    digest: str = ""
    size: int = 0
    mtime_ns: int = 0


@dataclass(frozen=True)
class WriteReport:
    """What a write did.

    Attributes:
        added: Chunks that were not there.
        kept: Chunks that stayed as they were, but for metadata.
        removed: Chunks that went.
        changed: Sources that were left as they are, since they were changed after they were
            planned: plan them again.
    """

    added: int
    kept: int
    removed: int
    changed: tuple[str, ...] = ()

    @classmethod
    def of(cls, plan: SourcePlan) -> Self:
        """What carrying out a plan does."""
        return cls(len(plan.new), len(plan.kept), len(plan.gone))

    def __add__(self, other: WriteReport) -> WriteReport:
        return WriteReport(
            self.added + other.added,
            self.kept + other.kept,
            self.removed + other.removed,
            self.changed + other.changed,
        )


@dataclass(frozen=True)
class ListsEffort:
    """What a search for k hits over inverted lists does, and what it finds by that.

    Attributes:
        k: Hits.
        probed: Lists that are scanned.
        reranked: Vectors that are scored exactly.
        recall: Share of the k nearest that was found, measured when the lists were built.
    """

    k: int
    probed: int
    reranked: int
    recall: float


@dataclass(frozen=True)
class ListsStats:
    """Inverted lists over the vectors of a large index.

    Attributes:
        vectors: How many are in the lists; the others are scanned one by one.
        efforts: By rising k; none if all vectors are scanned after all.
    """

    vectors: int
    efforts: tuple[ListsEffort, ...]


@dataclass(frozen=True)
class IndexStats:
    """What an index holds.

    Attributes:
        address: Where it is: its folder, or the server's address without a password.
        sources: Number of sources.
        chunks: Number of chunks that can be found.
        tombstones: Deleted chunks whose vectors still take room; `Index.compact` frees them.
        bytes: Bytes on disk by part, as far as they are known: "sqlite", "vectors", "bm25".
        embedder: Id of the embedder that made the vectors.
        dim: Length of a vector.
        vectors: Kind of vector index.
        lists: The inverted lists, of a folder with very many chunks.
    """

    address: str
    sources: int
    chunks: int
    tombstones: int
    bytes: dict[str, int]
    embedder: str
    dim: int
    vectors: str
    lists: ListsStats | None = None


@dataclass(frozen=True)
class IndexProblem:
    """Something in an index that is not what was written.

    Attributes:
        file: The file, relative to the index's folder, or the table or collection.
        what: What is wrong.
    """

    file: str
    what: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a search found.

    Attributes:
        chunk: The chunk, its `source` in its metadata.
        score: What the hits are ordered by, falling.
        parts: The scores that a hybrid score was made of: `dense` and `bm25`.
    """

    chunk: Chunk
    score: float
    parts: Mapping[str, float] = field(default_factory=dict)

    def document(self, by: str) -> Document:
        """The hit as a LangChain document.

        Args:
            by: The operator that searched.

        Returns:
            The chunk with its score as `score`, and in `scores` under the operator's name.
        """
        return self.chunk.document(score=self.score, scores={**self.parts, by: self.score})


@dataclass(frozen=True)
class Candidates:
    """What two searches found together, with what either knows of all of it.

    Attributes:
        dense: Cosines with the query: float32 [n].
        sparse: BM25 scores, 0 where no word is shared: float32 [n].
        vectors: float32 [n, dim], unit length.
    """

    dense: np.ndarray
    sparse: np.ndarray
    vectors: np.ndarray
