"""Reranking: late interaction by default, a cross-encoder where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from langchain_core.documents import Document
from pydantic import Field, NonNegativeFloat, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import CrossEncoder, Embedder
from rag.operators.documents import score_of, scored, scores_of, standardised, unique
from rag.text.splitting import embedding_text

if TYPE_CHECKING:
    import numpy as np

SHARPNESS = 4
LEXICAL = 0.2
FEEDBACK = 0.15
FEEDBACK_DOCUMENTS = 3


class Rerank(Operator):
    """Orders documents by late interaction between their tokens and the query's.

    MaxSim (ColBERT, Khattab and Zaharia 2020, section 3.3) over the token vectors of the
    embedder, which needs no further model. An embedder that was not trained for it needs help,
    found by experiment on Cranfield and NQ-open (nDCG@10; `rag eval retrieval` measures it):
    similarities are sharpened by their fourth power, so that exact matches count; a query
    token counts by how much it tells the candidates apart (its best MaxSim over them minus the
    mean), which stands in for its inverse document frequency; the pooled vectors' cosine is
    added, a share of the first stage's BM25 score, and a little nearness to the first three
    (pseudo-relevance feedback).

    Behind a first stage whose scores are good, such as `hybrid`, `prior` adds them. An embedder
    that gives no token vectors, such as those behind LangChain, orders by the rest of this.
    Reads `query` and `documents`; writes `documents`, best first.
    Example: `{use: rerank, k: 5, prior: 1}`
    """

    writes = "documents"
    span_kind = "RERANKER"

    k: PositiveInt = Field(default=5, description="how many to keep")
    depth: PositiveInt = Field(default=30, description="how many of the documents to look at")
    prior: NonNegativeFloat = Field(
        default=0.0, description="weight of the scores so far; both are standardised then"
    )

    def run(
        self, query: str, documents: list[Document], *, embedder: Embedder, ctx: RunContext
    ) -> list[Document]:
        """Order and cut; documents beyond `depth` follow in the order they came."""
        if not embedder.late:
            ctx.warn("the embedder gives no token vectors: only pooled ones are compared")
        found = list(unique(documents).values())
        candidates, rest = found[: self.depth], found[self.depth :]
        if not candidates or not query.strip():
            return found[: self.k]
        scores = late_interaction(query, candidates, embedder)
        if self.prior:
            scores = self._with_prior(scores, candidates)
        order = sorted(range(len(candidates)), key=lambda i: -scores[i])
        ranked = [scored(candidates[i], scores[i], self.use) for i in order]
        return [*ranked, *rest][: self.k]

    def _with_prior(self, scores: list[float], documents: list[Document]) -> list[float]:
        import numpy as np

        before = np.array([score_of(document) or 0.0 for document in documents])
        both = standardised(np.array(scores)) + self.prior * standardised(before)
        return [float(score) for score in both]


class CrossRerank(Operator):
    """Orders documents by a cross-encoder, which reads query and document together.

    Needs the resource `reranker`: a sentence-transformers cross-encoder (Nogueira and Cho 2019,
    arXiv 1901.04085). The best order where such a model is at hand and a pass over every document
    can be paid.
    Reads `query` and `documents`; writes `documents`, best first.
    Example: `{use: cross_rerank, k: 5, depth: 30}`
    """

    use: ClassVar[str] = "cross_rerank"
    writes = "documents"
    span_kind = "RERANKER"

    k: PositiveInt = Field(default=5, description="how many to keep")
    depth: PositiveInt = Field(default=30, description="how many of the documents to look at")

    def run(
        self, query: str, documents: list[Document], *, reranker: CrossEncoder
    ) -> list[Document]:
        """Order and cut; documents beyond `depth` follow in the order they came."""
        found = list(unique(documents).values())
        candidates, rest = found[: self.depth], found[self.depth :]
        scores = reranker.score(query, [embedding_text(document) for document in candidates])
        order = sorted(range(len(candidates)), key=lambda i: -scores[i])
        ranked = [scored(candidates[i], scores[i], self.use) for i in order]
        return [*ranked, *rest][: self.k]


def late_interaction(query: str, documents: Sequence[Document], embedder: Embedder) -> list[float]:
    """The documents' scores, as `Rerank` describes them; higher is better.

    Args:
        query: Not empty.
        documents: At least one; their BM25 scores are used where they have some.
        embedder: Where it gives no token vectors, their part is missing.
    """
    import numpy as np

    texts = [embedding_text(document) for document in documents]
    if embedder.late:
        asked = embedder.token_vectors([query], query=True)[0]
        tokens = embedder.token_vectors(texts)
        pooled = np.stack([_pool(vectors) for vectors in tokens])
        scores = pooled @ _pool(asked) + _interaction(asked, tokens)
    else:
        pooled = embedder.embed(texts)
        scores = pooled @ embedder.embed_query(query)
    lexical = np.array([scores_of(document).get("bm25", 0.0) for document in documents])
    if lexical.max() > 0:
        scores = scores + LEXICAL * lexical / lexical.max()
    leaders = pooled[np.argsort(-scores, kind="stable")[:FEEDBACK_DOCUMENTS]].mean(axis=0)
    scores = scores + FEEDBACK * (pooled @ (leaders / max(float(np.linalg.norm(leaders)), 1e-9)))
    return [float(score) for score in scores]


def _interaction(query: np.ndarray, documents: Sequence[np.ndarray]) -> np.ndarray:
    """Weighted, sharpened MaxSim of each document's tokens with the query's: [documents]."""
    import numpy as np

    best = np.stack([_max_sim(query, vectors) for vectors in documents])
    sharp = np.clip(best, 0.0, 1.0) ** SHARPNESS
    spread = best.max(axis=0) - best.mean(axis=0)
    total = float(spread.sum())
    weights = spread / total if total > 0 else np.full(len(spread), 1 / max(len(spread), 1))
    found: np.ndarray = sharp @ weights
    return found


def _max_sim(query: np.ndarray, document: np.ndarray) -> np.ndarray:
    """For each query token its best similarity in the document: [query tokens]."""
    import numpy as np

    if not len(document):
        return np.zeros(len(query), dtype=np.float32)
    best: np.ndarray = (query @ document.T).max(axis=1)
    return best


def _pool(vectors: np.ndarray) -> np.ndarray:
    """The mean of token vectors, at unit length: [dim]."""
    import numpy as np

    mean = vectors.mean(axis=0) if len(vectors) else np.zeros(vectors.shape[1], dtype=np.float32)
    pooled: np.ndarray = mean / max(float(np.linalg.norm(mean)), 1e-9)
    return pooled
