"""Reranking by a cross-encoder."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, NonNegativeFloat, PositiveInt

from rag.flow import Operator
from rag.models import CrossEncoder
from rag.operators.documents import unique
from rag.operators.scores import ranked, with_prior
from rag.text.chunk import Chunk


class CrossRerank(Operator):
    """Reranks documents by a cross-encoder, which reads query and document together.

    The resource `reranker` is a sentence-transformers cross-encoder (Nogueira and Cho 2019,
    arXiv 1901.04085). For the best ranking where such a model is available and one pass for each
    document is affordable.
    Reads `query` and `documents`; writes `documents`, best first.
    Example: `{use: cross_rerank, k: 5, depth: 30}`
    """

    writes = "documents"
    span_kind = "RERANKER"

    k: PositiveInt = Field(default=5, description="number of documents to keep")
    depth: PositiveInt = Field(default=30, description="number of documents to rerank")
    prior: NonNegativeFloat = Field(
        default=0.0, description="weight of the current scores; if above 0, both are standardised"
    )

    def run(
        self, query: str, documents: list[Document], *, reranker: CrossEncoder
    ) -> list[Document]:
        """The first `k`; documents beyond `depth` follow in their original order."""
        found = list(unique(documents).values())
        candidates, rest = found[: self.depth], found[self.depth :]
        texts = [Chunk.of(document).embedding_text for document in candidates]
        scores = with_prior(reranker.score(query, texts), candidates, self.prior)
        return [*ranked(candidates, scores, self.use), *rest][: self.k]
