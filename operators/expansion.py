"""Replacing a retrieved chunk by a longer passage of its document."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from langchain_core.documents import Document

from rag.index import Index
from rag.index.local.chunks import place

UNKNOWN = -1
"""Start and end of a chunk whose position in its document is not known."""


class SourceChunks:
    """The chunks of an index by source; each source is looked up once.

    Args:
        index: Where to look.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._known: dict[str, list[Document]] = {}

    def of(self, document: Document) -> list[Document]:
        """All chunks of the document's source, in the order of the text."""
        source = document.metadata.get("source")
        if source is None:
            return []
        if source not in self._known:
            self._known[source] = self._index.of_source(str(source))
        return self._known[source]


def expanded(document: Document, chunks: Sequence[Document]) -> Document:
    """The document with the text of all these chunks.

    Its `start`, `end` and `heading` become those of the whole passage.

    Args:
        document: Keeps its id and its other metadata.
        chunks: At least one, in the order of the text; they may overlap.
    """
    text, end = "", UNKNOWN
    for chunk in chunks:
        start = chunk.metadata.get("start", UNKNOWN)
        if UNKNOWN not in (start, end) and start < end:
            text += chunk.page_content[end - start :]
        elif text:
            close = UNKNOWN not in (start, end) and start - end <= 1
            text += (" " if close else "\n\n") + chunk.page_content
        else:
            text = chunk.page_content
        end = max(end, chunk.metadata.get("end", UNKNOWN))
    first, last = min(chunks, key=place), max(chunks, key=place)
    reach = {"start": first.metadata.get("start"), "end": last.metadata.get("end")}
    known = {key: value for key, value in reach.items() if value is not None}
    metadata = {**document.metadata, **known}
    headings = [str(chunk.metadata.get("heading", "")).split(" > ") for chunk in chunks]
    same = takewhile(lambda names: len({*names}) == 1, zip(*headings, strict=False))
    shared = [names[0] for names in same if names[0]]
    metadata.pop("heading", None)
    if shared:
        metadata["heading"] = " > ".join(shared)
    return Document(id=document.id, page_content=text, metadata=metadata)
