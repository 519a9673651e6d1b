"""Deduplication by embedding."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator
from rag.models import Embedder
from rag.operators.documents import unique
from rag.operators.duplicates import without_duplicates


class DedupeSemantic(Operator):
    """Keeps the first of documents whose embeddings are nearly the same: paraphrases too.

    For news and tickets, where many say the same in other words. Numbers hardly change an
    embedding, so two rows of a table may count as duplicates.
    Reads `documents`; writes `documents` in the same order, with the ids of the duplicates in
    `metadata["duplicates"]`.
    Example: `{use: dedupe_semantic, threshold: 0.95}`
    """

    writes = "documents"

    threshold: float = Field(default=0.95, ge=-1, le=1, description="cosine of duplicates")

    def run(self, documents: list[Document], *, embedder: Embedder) -> list[Document]:
        """The documents without duplicates."""
        found = list(unique(documents).values())
        vectors = embedder.embed([document.page_content for document in found])
        return without_duplicates(
            found, lambda one, at: float(vectors[one] @ vectors[at]) >= self.threshold
        )
