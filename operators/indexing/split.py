"""Splitting: documents to the chunks that are found."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import model_validator

from rag.flow import Operator
from rag.index.spec import Cutting
from rag.models import Embedder
from rag.text.splitting import split


class Split(Operator, Cutting):
    """Cuts documents into chunks that know where they stand in their document.

    Modular RAG (arXiv 2407.21059, section IV-A, chunk optimization). A `splitter` says where a
    text may be cut: `structure` (the default: recursively by headings, paragraphs, sentences, and
    words where a sentence is too long), `markdown`, `sentence`, `token`, `code` (Python by its
    syntax tree), `semantic` (where the meaning turns; Kamradt 2023). With `chunk_overlap` the
    chunks are a sliding window. With `parents` they are small-to-big, with several sizes a
    hierarchy: `parents` behind the search puts the larger chunk in a small one's place.
    For texts longer than what the embedder reads, and for answers from few words.
    Reads `documents`; writes `documents`: the chunks, with `start`, `end` and `heading` in their
    metadata.
    Example: `{use: split, chunk_size: 100, chunk_overlap: 20}`
    """

    writes = "documents"

    @model_validator(mode="after")
    def _fits(self) -> Split:
        # Without documents only the sizes are looked at: said when the flow is built.
        split((), size=self.chunk_size, overlap=self.chunk_overlap, parents=self.parents)
        return self

    def run(self, documents: list[Document], *, embedder: Embedder) -> list[Document]:
        """Cut each."""
        return self.cut(documents, embedder)
