"""Which documents are the same."""

from __future__ import annotations

from collections.abc import Iterable

from langchain_core.documents import Document

from rag.operators.scores import scores_of


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
