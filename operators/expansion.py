"""Replacing a retrieved chunk by a longer passage of its document."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from langchain_core.documents import Document

from rag.index import Index
from rag.text.chunk import HEADINGS, Chunk
from rag.text.joining import joined


class SourceChunks:
    """The chunks of an index by source; each source is looked up once.

    Args:
        index: Where to look.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._known: dict[str, list[Chunk]] = {}

    def of(self, chunk: Chunk) -> list[Chunk]:
        """All chunks cut from the chunk's source, in the order of the text."""
        if not chunk.source:
            return []
        if chunk.source not in self._known:
            every = self._index.of_source(chunk.source)
            self._known[chunk.source] = [one for one in every if not one.written_as]
        return self._known[chunk.source]


def expanded(document: Document, chunks: Sequence[Chunk]) -> Document:
    """The document with the text of all these chunks.

    Its `start`, `end` and `heading` become those of the whole passage.

    Args:
        document: Keeps its id and its other metadata.
        chunks: At least one, in the order of the text; they may overlap.
    """
    text, _ = joined(chunks)
    first = min(chunks, key=lambda chunk: chunk.position)
    last = max(chunks, key=lambda chunk: chunk.position)
    reach = {"start": first.start, "end": last.end}
    known = {key: value for key, value in reach.items() if value is not None}
    headings = zip(*(chunk.headings for chunk in chunks), strict=False)
    shared = [names[0] for names in takewhile(lambda names: len({*names}) == 1, headings)]
    metadata = {**document.metadata, **known, "heading": HEADINGS.join(shared)}
    metadata.pop("written_as", None)
    if not shared:
        del metadata["heading"]
    return Document(id=document.id, page_content=text, metadata=metadata)
