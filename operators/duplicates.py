"""Removing duplicates: the first of each group of documents is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from langchain_core.documents import Document

from rag.operators.documents import identity


def without_duplicates(
    documents: Sequence[Document], same: Callable[[int, int], bool]
) -> list[Document]:
    """The documents that are no duplicate of one kept before them.

    Args:
        documents: Copies: those kept get the ids of their duplicates in
            `metadata["duplicates"]`.
        same: Whether the documents at two positions are duplicates.
    """
    kept: dict[int, list[str]] = {}
    for at, document in enumerate(documents):
        twin = next((one for one in kept if same(one, at)), None)
        if twin is None:
            kept[at] = []
        else:
            kept[twin].append(identity(document))
    for at, left_out in kept.items():
        if left_out:
            before = documents[at].metadata.get("duplicates", [])
            documents[at].metadata["duplicates"] = [*before, *left_out]
    return [documents[at] for at in kept]
