"""Sparse retrieval by BM25."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.index import Index
from rag.operators.search import Filter, combine_filters


class BM25(Operator):
    """Retrieves the chunks with the highest BM25 score (Robertson and Zaragoza 2009).

    For names, numbers and rare words, in milliseconds; combine it with `dense` for the rest.
    Reads `query` and, if present, `where` (a filter); writes `documents`, best first,
    `metadata["score"]` the BM25 score.
    Example: `{use: bm25, k: 20}`
    """

    writes = "documents"
    span_kind = "RETRIEVER"

    k: PositiveInt = Field(default=10, description="maximum number of documents")
    where: Filter = None

    def run(
        self, query: str, where: dict[str, Any] | None = None, *, index: Index
    ) -> list[Document]:
        """The chunks; none if the index has no word of the query."""
        found = index.sparse(query, self.k, where=combine_filters(self.where, where))
        return [hit.document(self.use) for hit in found]
