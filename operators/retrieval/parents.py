"""Expansion of chunks to their parents."""

from __future__ import annotations

from typing import Any, Literal

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.index import Index
from rag.operators.documents import unique
from rag.operators.expansion import SourceChunks, expanded
from rag.text.chunk import Chunk


class Parents(Operator):
    """Replaces each chunk by the larger passage that it was cut from (small-to-big).

    Small chunks are retrieved more exactly, larger passages answer better. The parents are made
    at ingest, by `parents: [800]` in the index's specification; with several sizes there is a
    hierarchy. A parent appears once, at the rank of its best child. With `share`, a parent
    replaces its children only if that share of them was retrieved (auto-merging); otherwise they
    stay as they are. Chunks without a parent stay too.
    Reads `documents` of the index; writes `documents`, best first.
    Examples: `{use: parents}`, `{use: parents, of: document}`, `{use: parents, share: 0.5}`
    """

    writes = "documents"
    span_kind = "RETRIEVER"

    of: Literal["parent", "document"] = Field(
        default="parent", description="the parent, or the whole document (of a PDF, the page)"
    )
    level: PositiveInt = Field(default=1, description="1: the nearest parent; 2: its parent; ...")
    share: float = Field(
        default=0.0, ge=0, le=1, description="share of its children that must be retrieved"
    )

    def run(self, documents: list[Document], *, index: Index) -> list[Document]:
        """The parents."""
        sources = SourceChunks(index)
        found = list(unique(documents).values())
        hits: dict[Any, list[Document]] = {}
        for document in found:
            hits.setdefault(self._key(Chunk.of(document)), []).append(document)
        written: list[Document] = []
        done: set[Any] = set()
        for document in found:
            chunk = Chunk.of(document)
            key = self._key(chunk)
            if key in done:
                continue
            children = [c for c in sources.of(chunk) if self._key(c) == key] if key else []
            if not children or len(hits[key]) < self.share * len(children):
                written.append(document)
                continue
            done.add(key)
            written.append(expanded(document, children))
        return written

    def _key(self, chunk: Chunk) -> Any:
        """What the children of one parent share; None: there is no parent."""
        if not chunk.source:
            return None
        if self.of == "document":
            return chunk.source, chunk.page
        if len(chunk.parents) < self.level:
            return None
        return chunk.source, chunk.page, chunk.parents[-self.level]
