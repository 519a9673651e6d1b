"""Where a reader finds a document."""

from __future__ import annotations

from langchain_core.documents import Document

from rag.text.chunk import Chunk


def location(document: Document) -> str:
    """Where a reader finds the document: `operations/locks.md, page 3, Locks > North lock`."""
    chunk = Chunk.of(document)
    page = chunk.page_label or chunk.page
    parts = [
        chunk.path or chunk.source or chunk.id or "unknown",
        f"page {page}" if page is not None else "",
        chunk.heading,
        _rows(chunk),
    ]
    return ", ".join(filter(None, parts))


def _rows(chunk: Chunk) -> str:
    if chunk.rows is None:
        return ""
    first, last = chunk.rows
    return f"row {first}" if first == last else f"rows {first} to {last}"
