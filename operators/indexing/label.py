"""Metadata by path."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator
from rag.index.spec import labelled


class Label(Operator):
    """Adds metadata to documents by patterns of their paths; later patterns override earlier ones.

    Metadata attachment (Modular RAG, arXiv 2407.21059, section IV-A). A pattern is a glob that
    matches the whole path or its end: `people/*`, `*.md`. For searches within a part of the
    corpus: `where` filters on what is added here.
    Reads `documents`; writes `documents`.
    Example: `{use: label, metadata: {people/*: {department: people}}}`
    """

    writes = "documents"
    light = True

    metadata: dict[str, dict[str, Any]] = Field(
        description="path pattern, such as `people/*`, to the metadata it adds"
    )

    def run(self, documents: list[Document]) -> list[Document]:
        """The documents with their labels."""
        return [labelled(document, self.metadata) for document in documents]
