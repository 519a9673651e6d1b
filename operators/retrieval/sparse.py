"""Sparse retrieval: the documents that share the query's rarer words."""

from __future__ import annotations

from typing import Any, ClassVar

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.index import Index
from rag.operators.documents import both, scored


class BM25(Operator):
    """Finds the chunks with the highest BM25 score (Robertson and Zaragoza 2009).

    For names, numbers and rare words, in milliseconds; with `dense` beside it for the rest.
    Reads `query`, and where it is there `where` (a filter); writes `documents`, best first,
    `metadata["score"]` the BM25 score.
    Example: `{use: bm25, k: 20}`
    """

    use: ClassVar[str] = "bm25"
    writes = "documents"
    span_kind = "RETRIEVER"

    k: PositiveInt = Field(default=10, description="how many documents at most")
    where: dict[str, Any] | None = Field(
        default=None, description="metadata that they must have, such as {path: {$in: [a.md]}}"
    )

    def run(
        self, query: str, where: dict[str, Any] | None = None, *, index: Index
    ) -> list[Document]:
        """Search; a query without a word that the index knows finds nothing."""
        found = index.sparse(query, self.k, where=both(self.where, where))
        return [scored(document, document.metadata["score"], self.use) for document in found]
