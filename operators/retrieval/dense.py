"""Dense retrieval: the documents whose embeddings are nearest to the query's."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.index import Index
from rag.models import Embedder
from rag.operators.documents import both, scored


class Dense(Operator):
    """Finds the chunks whose embeddings have the highest cosine with the query's.

    Bi-encoders: Karpukhin et al. 2020 (arXiv 2004.04906); exact search. For questions in other
    words than the documents'; names and numbers are found better by `bm25`.
    Reads `query`, and where they are there `passages` (their mean with the query is searched for:
    HyDE, Gao et al. 2022, arXiv 2212.10496) and `where` (a filter); writes `documents`, best
    first, `metadata["score"]` the cosine.
    Example: `{use: dense, k: 20}`
    """

    writes = "documents"
    span_kind = "RETRIEVER"

    k: PositiveInt = Field(default=10, description="how many documents at most")
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
        found = index.dense(vector, self.k, where=both(self.where, where), embedder=embedder.id)
        return [scored(document, document.metadata["score"], self.use) for document in found]
