"""Metadata attachment: what a document's path says of it."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator
from rag.index.spec import labelled


class Label(Operator):
    """Adds metadata to documents by patterns of their paths, later patterns last.

    Metadata attachment (Modular RAG, arXiv 2407.21059, section IV-A). A pattern is a shell's, and
    may match the end of a path: `people/*`, `*.md`. For searches within a part of the corpus:
    `where` filters on what is added here.
    Reads `documents`; writes `documents`.
    Example: `{use: label, metadata: {people/*: {department: people}}}`
    """

    writes = "documents"
    light = True

    metadata: dict[str, dict[str, Any]] = Field(
        description="pattern of paths, such as `people/*`: what they get"
    )

    def run(self, documents: list[Document]) -> list[Document]:
        """Add to each what its path says."""
        return [labelled(document, self.metadata) for document in documents]
