"""Retrieval from other systems, by LangChain's vector stores and retrievers."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.connect.vector_stores import Store
from rag.flow import Operator
from rag.operators.scores import scored


class External(Operator):
    """Searches a LangChain vector store or retriever (Qdrant, pgvector, OpenSearch, the web).

    The resource `store` is such an object or, in a pipeline file, the class with its arguments
    (`rag.connect.vector_stores.Store`). Scores are the store's relevance scores, 0 to 1. For
    corpora in another system, or too large for one machine; the rest of the flow does not change.
    Reads `query`; writes `documents`, best first.
    Example: `{use: external, k: 20, filter: {metadata.lang: en}}`
    """

    writes = "documents"
    span_kind = "RETRIEVER"

    k: PositiveInt = Field(default=10, description="maximum number of documents")
    filter: dict[str, Any] | None = Field(
        default=None, description="filter in the vector store's own syntax"
    )

    async def run(self, query: str, *, store: Store) -> list[Document]:
        """The documents.

        Raises:
            InputError: A filter is given to a retriever, which takes none.
            IndexStateError: The store cannot be reached, or refuses the query.
            ModelError: Its embedder cannot be reached.
        """
        found = await store.search(query, self.k, self.filter)
        return [
            document if score is None else scored(document, score, self.use)
            for document, score in found
        ]
