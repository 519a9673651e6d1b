"""Which documents are the same, and where a reader finds one."""

from __future__ import annotations

from collections.abc import Iterable

from langchain_core.documents import Document

from rag.operators.scores import scores_of
from rag.text.chunk import Chunk


def identity(document: Document) -> str:
    """What makes two documents the same: the id, or the text if there is none."""
    return document.id or document.page_content


def unique(documents: Iterable[Document]) -> dict[str, Document]:
    """Identity to document, in order of first appearance; the scores of all copies are merged."""
    found: dict[str, Document] = {}
    for document in documents:
        key = identity(document)
        if key in found:
            found[key].metadata["scores"] = {**scores_of(document), **scores_of(found[key])}
        else:
            found[key] = document.model_copy(update={"metadata": dict(document.metadata)})
    return found


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
