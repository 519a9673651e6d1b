"""Hybrid retrieval in one step: words and meaning, and what the nearest candidates say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from pydantic import Field, NonNegativeFloat, PositiveInt

from rag.flow import Operator
from rag.index import Index
from rag.models import Embedder
from rag.operators.documents import both, scored, standardised

if TYPE_CHECKING:
    import numpy as np

    from rag.index.types import Candidates

DEPTH = 2000
"""Candidates that are compared with each other, at most."""
SURE = 2.0
"""The lead of the first document over the second, in deviations, at which smoothing has fallen to
a third: a ranking that is sure needs none."""


class Hybrid(Operator):
    """Finds chunks by BM25 and embedding, both scores for every candidate, smoothed by likeness.

    The candidates are the best of either search; each gets both scores, standardised (the
    rankings that a join of two steps sees lack the scores of what the other found). Then a
    document takes part of the scores of the candidates most like it, by the vectors that the
    index holds: score regularization after the cluster hypothesis (Diaz 2005, "Regularizing ad
    hoc retrieval scores", CIKM), less the further the first is ahead. It costs milliseconds and
    needs no further model. For corpora on one subject, where many documents bear on a question;
    `rerank` with `prior: 1` behind it is best. Its numbers were chosen on half of Cranfield's and
    NQ-open's questions.
    Reads `query`, and where they are there `passages` (as `dense` does) and `where` (a filter);
    writes `documents`, best first.
    Example: `{use: hybrid, k: 100}`
    """

    writes = "documents"
    span_kind = "RETRIEVER"

    k: int = Field(default=10, ge=1, le=DEPTH, description="how many documents at most")
    depth: int = Field(default=100, ge=1, le=DEPTH, description="candidates of either search")
    sparse: NonNegativeFloat = Field(default=0.6, description="weight of BM25; the cosine's is 1")
    neighbours: PositiveInt = Field(default=5, description="candidates that a score is taken from")
    smoothing: NonNegativeFloat = Field(default=2.0, description="their weight; 0: none")
    where: dict[str, Any] | None = Field(
        default=None, description="metadata that they must have, such as {path: {$in: [a.md]}}"
    )

    def run(
        self,
        query: str,
        passages: list[str] | None = None,
        where: dict[str, Any] | None = None,
        *,
        index: Index,
        embedder: Embedder,
    ) -> list[Document]:
        """Search.

        Raises:
            IndexStateError: The index was made with another embedder.
        """
        vector = embedder.embed_query(query)
        if passages:
            vector = (vector + embedder.embed(passages).sum(axis=0)) / (len(passages) + 1)
        found = index.hybrid(
            query, vector, self.k, depth=max(self.depth, self.k), score=self._score,
            where=both(self.where, where), embedder=embedder.id,
        )  # fmt: skip
        return [scored(document, document.metadata["score"], self.use) for document in found]

    def _score(self, candidates: Candidates) -> np.ndarray:
        scores = standardised(candidates.dense) + self.sparse * standardised(candidates.sparse)
        if not self.smoothing or len(scores) < 2:
            return scores
        second, first = sorted(scores.tolist())[-2:]
        weight = self.smoothing * math.exp((second - first) / SURE)
        return smoothed(scores, candidates.vectors, self.neighbours, weight)


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
    likeness = np.clip(np.take_along_axis(near, order, axis=1), 1e-6, None)
    lent: np.ndarray = (likeness * scores[order]).sum(axis=1) / likeness.sum(axis=1)
    return scores + weight * lent
