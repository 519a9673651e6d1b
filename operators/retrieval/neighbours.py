"""Expansion of chunks by their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator
from rag.index import Index
from rag.operators.documents import unique
from rag.operators.expansion import SourceChunks, expanded
from rag.text.chunk import Chunk


class Neighbours(Operator):
    """Expands each chunk by the chunks before and after it (sliding window).

    For short chunks of running text: retrieval is exact, and the model reads the surroundings.
    Windows that overlap or touch are merged into one document, at the rank of the better one.
    Chunks that the index does not have stay as they are.
    Reads `documents` of the index; writes `documents`, best first, with `start`, `end` and text
    of the window.
    Example: `{use: neighbours, before: 1, after: 1}`
    """

    writes = "documents"
    span_kind = "RETRIEVER"

    before: int = Field(default=1, ge=0, description="chunks before it")
    after: int = Field(default=1, ge=0, description="chunks after it")

    def run(self, documents: list[Document], *, index: Index) -> list[Document]:
        """The windows."""
        sources = SourceChunks(index)
        windows: list[_Window] = []
        for document in unique(documents).values():
            found = Chunk.of(document)
            chunks = [chunk for chunk in sources.of(found) if chunk.page == found.page]
            at = next((n for n, chunk in enumerate(chunks) if chunk.id == document.id), None)
            if at is None:
                windows.append(_Window(document, []))
                continue
            key = (found.source, found.page)
            first, last = max(at - self.before, 0), min(at + self.after, len(chunks) - 1)
            touching = [w for w in windows if w.key == key and w.touches(first, last)]
            windows = [window for window in windows if window not in touching[1:]]
            if touching:
                first = min(first, *(window.first for window in touching))
                last = max(last, *(window.last for window in touching))
                touching[0].first, touching[0].last = first, last
            else:
                windows.append(_Window(document, chunks, key, first, last))
        return [window.text() for window in windows]


@dataclass(eq=False)
class _Window:
    """A document and the run of chunks that it becomes; without chunks it stays as it is."""

    document: Document
    chunks: list[Chunk]
    key: Any = None
    first: int = 0
    last: int = 0

    def touches(self, first: int, last: int) -> bool:
        """Whether no chunk lies between the two runs."""
        return first <= self.last + 1 and last >= self.first - 1

    def text(self) -> Document:
        """The document with the text of its run."""
        run = self.chunks[self.first : self.last + 1]
        return expanded(self.document, run) if run else self.document
