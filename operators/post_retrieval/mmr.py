"""Diversity by maximal marginal relevance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.models import Embedder
from rag.operators.documents import unique
from rag.operators.scores import min_max, score_of, scored
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np


class MMR(Operator):
    """Reranks by maximal marginal relevance (Carbonell and Goldstein 1998, section 2).

    Documents are taken one by one, each time the one with the highest `weight * relevance -
    (1 - weight) * similarity`, where similarity is its highest cosine with a document already
    taken. For corpora that repeat themselves, and for questions with several sides.
    Reads `query` and `documents`; writes `documents` without copies, in the order in which they
    were taken, `metadata["score"]` the marginal relevance. An empty query keeps their order.
    Example: `{use: mmr, k: 5, weight: 0.7}`
    """

    writes = "documents"
    light = True
    span_kind = "RERANKER"

    k: PositiveInt = Field(default=5, description="number of documents to keep")
    weight: float = Field(default=0.5, ge=0, le=1, description="of relevance; 1: relevance alone")
    depth: PositiveInt = Field(default=30, description="number of documents to rerank")
    relevance: Literal["query", "score"] = Field(
        default="query",
        description="the cosine with the query, or the current score scaled to 0..1",
    )

    def run(self, query: str, documents: list[Document], *, embedder: Embedder) -> list[Document]:
        """The first `k`; documents beyond `depth` follow in their original order."""
        import numpy as np

        found = list(unique(documents).values())
        candidates, rest = found[: self.depth], found[self.depth :]
        if not candidates or not query.strip():
            return found[: self.k]
        vectors = embedder.embed([Chunk.of(document).embedding_text for document in candidates])
        if self.relevance == "query":
            relevance = vectors @ embedder.embed_query(query)
        else:
            relevance = np.asarray(_scaled([score_of(document) for document in candidates]))
        taken = mmr(relevance, vectors, self.weight, self.k)
        return [*(scored(candidates[at], value, self.use) for at, value in taken), *rest][: self.k]


def mmr(
    relevance: np.ndarray, vectors: np.ndarray, weight: float, k: int
) -> list[tuple[int, float]]:
    """Positions and their marginal relevance, in the order in which they are taken.

    Args:
        relevance: [n].
        vectors: float32 [n, dim], unit length.
        weight: Of relevance, 0 to 1.
        k: How many at most.
    """
    import numpy as np

    nearest = np.zeros(len(vectors), dtype=np.float32)
    left = np.ones(len(vectors), dtype=bool)
    taken: list[tuple[int, float]] = []
    for _ in range(min(k, len(vectors))):
        values = np.where(left, weight * relevance - (1 - weight) * nearest, -np.inf)
        at = int(values.argmax())
        taken.append((at, float(values[at])))
        left[at] = False
        near = vectors @ vectors[at]
        nearest = near if len(taken) == 1 else np.maximum(nearest, near)
    return taken


def _scaled(scores: list[float | None]) -> list[float]:
    """Scores scaled to 0..1; the reciprocal ranks if one is missing."""
    known = [score for score in scores if score is not None]
    if len(known) < len(scores):
        return [1 / rank for rank in range(1, len(scores) + 1)]
    return min_max(known)
