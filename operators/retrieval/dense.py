"""Dense retrieval by embeddings."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.index import Index
from rag.models import Embedder
from rag.operators.search import Filter, combine_filters, query_vector


class Dense(Operator):
    """Retrieves the chunks whose embeddings have the highest cosine with the query's.

    A bi-encoder (Karpukhin et al. 2020, arXiv 2004.04906) with exact search. For questions in
    other words than the documents'; `bm25` is better for names and numbers.
    Reads `query` and, if present, `passages` (the query's vector becomes its mean with theirs:
    HyDE, Gao et al. 2022, arXiv 2212.10496) and `where` (a filter); writes `documents`, best
    first, `metadata["score"]` the cosine.
    Example: `{use: dense, k: 20}`
    """

    writes = "documents"
    light = True
    span_kind = "RETRIEVER"

    k: PositiveInt = Field(default=10, description="maximum number of documents")
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
        both = combine_filters(self.where, where)
        found = index.dense(vector, self.k, where=both, embedder=embedder.id)
        return [hit.document(self.use) for hit in found]
