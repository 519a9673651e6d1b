"""Reranking by late interaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_core.documents import Document
from pydantic import Field, NonNegativeFloat, PositiveInt

from rag.flow import Operator, RunContext
from rag.index import Index
from rag.models import Embedder
from rag.operators.documents import unique
from rag.operators.scores import ranked, scores_of, with_prior
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

LEXICAL = 0.2
"""Weight of the first stage's BM25 scores, scaled to at most 1."""
FEEDBACK = 0.15
"""Weight of the cosine with the mean of the leading documents."""
FEEDBACK_DOCUMENTS = 3


class Rerank(Operator):
    """Reranks documents by late interaction between their tokens and the query's.

    MaxSim (ColBERT, Khattab and Zaharia 2020, section 3.3) over the token vectors of the
    embedder, which needs no further model; an index in a folder keeps those of its first chunks.
    As the embedder was not trained for it, MaxSim is modified: a query token is weighted by how
    well it separates the candidates (its highest MaxSim over them minus the mean), in place of an
    inverse document frequency; added are the cosine of the pooled vectors, a share of the first
    stage's BM25 score, and the similarity to the first three documents (pseudo-relevance
    feedback). Each of these was chosen on topics of Cranfield and NQ-open and measured on the
    topic left out (`benchmarks/rerank_constants.py`).

    The default reranker. After a first stage with good scores, such as `hybrid`, `prior` adds
    them. With an embedder without token vectors, such as those of LangChain, MaxSim is left out,
    with a warning.
    Reads `query` and `documents`; writes `documents`, best first.
    Example: `{use: rerank, k: 5, prior: 1}`
    """

    writes = "documents"
    span_kind = "RERANKER"

    k: PositiveInt = Field(default=5, description="number of documents to keep")
    depth: PositiveInt = Field(default=30, description="number of documents to rerank")
    prior: NonNegativeFloat = Field(
        default=0.0, description="weight of the current scores; if above 0, both are standardised"
    )

    def run(
        self,
        query: str,
        documents: list[Document],
        *,
        embedder: Embedder,
        ctx: RunContext,
        index: Index | None = None,
    ) -> list[Document]:
        """The first `k`; documents beyond `depth` follow in their original order."""
        if not embedder.late:
            ctx.warn("the embedder gives no token vectors: only pooled ones are compared")
        found = list(unique(documents).values())
        candidates, rest = found[: self.depth], found[self.depth :]
        if not candidates or not query.strip():
            return found[: self.k]
        scores = late_interaction(query, candidates, embedder, index)
        scores = with_prior(scores, candidates, self.prior)
        return [*ranked(candidates, scores, self.use), *rest][: self.k]


def late_interaction(
    query: str, documents: Sequence[Document], embedder: Embedder, index: Index | None = None
) -> list[float]:
    """The documents' scores, as described at `Rerank`; higher is better.

    Args:
        query: Not empty.
        documents: At least one; their BM25 scores are used if they have some.
        embedder: Without token vectors, MaxSim is left out.
        index: Has kept token vectors of its chunks; the others are computed.
    """
    import numpy as np

    chunks = [Chunk.of(document) for document in documents]
    if embedder.late:
        vectors = embedder.token_vectors([query], query=True)[0]
        tokens = _tokens(chunks, embedder, index)
        pooled = np.stack([_pool(one) for one in tokens])
        scores = pooled @ _pool(vectors) + _interaction(vectors, tokens)
    else:
        pooled = embedder.embed([chunk.embedding_text for chunk in chunks])
        scores = pooled @ embedder.embed_query(query)
    lexical = np.array([scores_of(document).get("bm25", 0.0) for document in documents])
    if lexical.max() > 0:
        scores = scores + LEXICAL * lexical / lexical.max()
    leaders = pooled[np.argsort(-scores, kind="stable")[:FEEDBACK_DOCUMENTS]].mean(axis=0)
    scores = scores + FEEDBACK * (pooled @ (leaders / max(float(np.linalg.norm(leaders)), 1e-9)))
    return [float(score) for score in scores]


def _tokens(chunks: Sequence[Chunk], embedder: Embedder, index: Index | None) -> list[np.ndarray]:
    """The token vectors of chunks, from the index where it has them."""
    found: dict[str, np.ndarray] = {}
    if index is not None:
        found = index.tokens.get(embedder.id, embedder.dim, chunks)
    texts = [chunk.embedding_text for chunk in chunks]
    missing = list(dict.fromkeys(text for text in texts if text not in found))
    found |= zip(missing, embedder.token_vectors(missing), strict=True)
    return [found[text] for text in texts]


def _interaction(query: np.ndarray, documents: Sequence[np.ndarray]) -> np.ndarray:
    """Weighted MaxSim of each document's tokens with the query's: [documents]."""
    import numpy as np

    best = np.stack([_max_sim(query, vectors) for vectors in documents])
    spread = best.max(axis=0) - best.mean(axis=0)
    total = float(spread.sum())
    weights = spread / total if total > 0 else np.full(len(spread), 1 / max(len(spread), 1))
    found: np.ndarray = np.clip(best, 0.0, 1.0) @ weights
    return found


def _max_sim(query: np.ndarray, document: np.ndarray) -> np.ndarray:
    """The highest similarity of each query token with a token of the document: [query tokens]."""
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
