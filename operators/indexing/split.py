"""Splitting of documents into chunks."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import model_validator

from rag.flow import Operator
from rag.index.spec import SplitSpec
from rag.models import Embedder
from rag.text.splitting import split


class Split(Operator, SplitSpec):
    """Splits documents into chunks that keep their position in the document.

    Modular RAG (arXiv 2407.21059, section IV-A, chunk optimization). The `splitter` decides where
    a text may be split: `structure` (the default: recursively by headings, paragraphs, sentences,
    and words if a sentence is too long), `markdown`, `sentence`, `token`, `code` (functions and
    classes by the syntax tree; languages other than Python with the extra `code`), `semantic`
    (where the meaning changes; Kamradt 2023). With `chunk_overlap` the chunks are a sliding
    window. With `parents` they are small-to-big, with several sizes a hierarchy: the operator
    `parents` replaces a retrieved chunk by the larger one. With `late_chunking` their vectors are
    pooled from the whole document (Guenther et al. 2024, arXiv 2409.04701).
    For texts longer than the embedder's window, and for answers from few words.
    Reads `documents`; writes `documents`: the chunks, with `start`, `end` and `heading` in their
    metadata.
    Example: `{use: split, chunk_size: 100, chunk_overlap: 20}`
    """

    writes = "documents"
    light = True

    @model_validator(mode="after")
    def _fits(self) -> Split:
        # Without documents only the sizes are checked, so that the build reports them.
        split((), size=self.chunk_size, overlap=self.chunk_overlap, parents=self.parents)
        return self

    def run(self, documents: list[Document], *, embedder: Embedder) -> list[Document]:
        """The chunks of all documents."""
        return [chunk.document() for chunk in self.split(documents, embedder)]
