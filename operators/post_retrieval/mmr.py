"""Diversity: documents that are relevant and not like those chosen before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.models import Embedder
from rag.operators.documents import score_of, scored, unique
from rag.text.splitting import embedding_text

if TYPE_CHECKING:
    import numpy as np


class MMR(Operator):
    """Orders documents by maximal marginal relevance (Carbonell and Goldstein 1998, section 2).

    One after the other the document with the highest `weight * relevance - (1 - weight) *
    similarity` is taken, the similarity being its highest cosine with a document taken before.
    For corpora that say the same many times, and for questions with several sides.
    Reads `query` and `documents`; writes `documents`, each once, the first taken first,
    `metadata["score"]` its marginal relevance. Without a query they stay in their order.
    Example: `{use: mmr, k: 5, weight: 0.7}`
    """

    use: ClassVar[str] = "mmr"
    writes = "documents"
    span_kind = "RERANKER"

    k: PositiveInt = Field(default=5, description="how many to keep")
    weight: float = Field(default=0.5, ge=0, le=1, description="1: relevance alone")
    depth: PositiveInt = Field(default=30, description="how many of the documents to look at")
    relevance: Literal["query", "score"] = Field(
        default="query",
        description="the cosine with the query, or the score so far, brought to 0 to 1",
    )

    def run(self, query: str, documents: list[Document], *, embedder: Embedder) -> list[Document]:
        """Choose; documents beyond `depth` follow in the order they came."""
        found = list(unique(documents).values())
        candidates, rest = found[: self.depth], found[self.depth :]
        if not candidates or not query.strip():
            return found[: self.k]
        vectors = embedder.embed([embedding_text(document) for document in candidates])
        if self.relevance == "query":
            relevance = vectors @ embedder.embed_query(query)
        else:
            relevance = _scaled([score_of(document) for document in candidates])
        taken = mmr(relevance, vectors, self.weight, self.k)
        return [*(scored(candidates[at], value, self.use) for at, value in taken), *rest][: self.k]


def mmr(
    relevance: np.ndarray, vectors: np.ndarray, weight: float, k: int
) -> list[tuple[int, float]]:
    """Positions and their marginal relevance, in the order in which they are taken.

    Args:
        relevance: float32 [n].
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


def _scaled(scores: list[float | None]) -> np.ndarray:
    """Scores brought to 0 to 1; where one is missing, the ranks' reciprocals."""
    import numpy as np

    if any(score is None for score in scores):
        return np.asarray(1 / np.arange(1, len(scores) + 1, dtype=np.float32))
    values = np.asarray(scores, dtype=np.float32)
    reach = float(values.max() - values.min())
    scaled: np.ndarray = (values - values.min()) / (reach or 1.0)
    return scaled
