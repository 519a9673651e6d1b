"""Hybrid retrieval in one step: BM25 and dense scores of all candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from pydantic import Field, NonNegativeFloat, PositiveInt

from rag.flow import Operator
from rag.index import Index
from rag.models import Embedder
from rag.operators.scores import standardised
from rag.operators.search import Filter, combine_filters, query_vector

if TYPE_CHECKING:
    import numpy as np

    from rag.index.types import Candidates

DEPTH = 2000
"""Candidates that are compared with each other, at most."""


class Hybrid(Operator):
    """Retrieves chunks by BM25 and embedding, by the sum of their standardised scores.

    The candidates are the best of either search; each gets both scores (a join of two steps lacks
    the scores of what only the other one found). With `smoothing` a document takes on part of the
    scores of the candidates most similar to it, by the vectors of the index: score regularization
    after the cluster hypothesis (Diaz 2005, "Regularizing ad hoc retrieval scores", CIKM). It
    finds more where many documents on one subject bear on a question, and may cost the first hit:
    measure it on your own questions. No further model is needed.
    Reads `query` and, if present, `passages` (as `dense` does) and `where` (a filter); writes
    `documents`, best first.
    Example: `{use: hybrid, k: 100}`
    """

    writes = "documents"
    light = True
    span_kind = "RETRIEVER"

    k: int = Field(default=10, ge=1, le=DEPTH, description="maximum number of documents")
    depth: int = Field(default=100, ge=1, le=DEPTH, description="candidates of either search")
    sparse: NonNegativeFloat = Field(
        default=0.6, description="weight of BM25; that of the cosine is 1"
    )
    neighbours: PositiveInt = Field(
        default=5, description="similar candidates that a score is smoothed over"
    )
    smoothing: NonNegativeFloat = Field(default=0.0, description="their weight; 0: none")
    where: Filter = None

    def run(
        self,
        query: str,
        passages: list[str] | None = None,
        where: dict[str, Any] | None = None,
        *,
        index: Index,
        embedder: Embedder,
    ) -> list[Document]:
        """The chunks.

        Raises:
            IndexStateError: The index was made with another embedder.
        """
        vector = query_vector(embedder, query, passages)
        found = index.hybrid(
            query, vector, self.k, depth=max(self.depth, self.k), score=self._score,
            where=combine_filters(self.where, where), embedder=embedder.id,
        )  # fmt: skip
        return [hit.document(self.use) for hit in found]

    def _score(self, candidates: Candidates) -> np.ndarray:
        scores = standardised(candidates.dense) + self.sparse * standardised(candidates.sparse)
        if not self.smoothing:
            return scores
        return smoothed(scores, candidates.vectors, self.neighbours, self.smoothing)


def smoothed(scores: np.ndarray, vectors: np.ndarray, neighbours: int, weight: float) -> np.ndarray:
    """Scores, each with a part of its nearest neighbours' added.

    Args:
        scores: float32 [n].
        vectors: float32 [n, dim], unit length.
        neighbours: How many.
        weight: Of their mean, in which each counts by its cosine.
    """
    import numpy as np

    if len(scores) < 2:
        return scores
    near = vectors @ vectors.T
    np.fill_diagonal(near, -1.0)
    order = np.argsort(-near, axis=1, kind="stable")[:, :neighbours]
    similarity = np.clip(np.take_along_axis(near, order, axis=1), 1e-6, None)
    lent: np.ndarray = (similarity * scores[order]).sum(axis=1) / similarity.sum(axis=1)
    return scores + weight * lent
