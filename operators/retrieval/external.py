"""Retrieval from elsewhere: LangChain's vector stores and retrievers."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.connect.vector_stores import Store
from rag.flow import Operator
from rag.operators.documents import scored


class External(Operator):
    """Asks a LangChain vector store or retriever (Qdrant, pgvector, OpenSearch, a search engine).

    The resource `store` is such an object, or in a pipeline file the class with its arguments
    (`rag.connect.vector_stores.Store`). Scores are the store's relevance, 0 to 1. For
    corpora that another system holds, or that one machine does not; everything else of a flow
    stays as it is.
    Reads `query`; writes `documents`, best first.
    Example: `{use: external, k: 20, filter: {metadata.lang: en}}`
    """

    writes = "documents"
    span_kind = "RETRIEVER"

    k: PositiveInt = Field(default=10, description="how many documents at most")
    filter: dict[str, Any] | None = Field(
        default=None, description="handed to a vector store, in its own language"
    )

    async def run(self, query: str, *, store: Store) -> list[Document]:
        """Ask.

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
