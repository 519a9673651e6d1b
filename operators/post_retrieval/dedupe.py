"""Deduplication by shared words."""

from __future__ import annotations

import re

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.operators.documents import unique
from rag.operators.duplicates import without_duplicates
from rag.text.scripts import UNSPACED

_WORD = re.compile(f"[{UNSPACED}]|[^\\W{UNSPACED}]+")


class Dedupe(Operator):
    """Keeps the first of documents with the same or nearly the same words.

    Two are duplicates if their sets of word 5-grams are similar enough (shingles and Jaccard
    similarity: Broder 1997, "On the resemblance and containment of documents"); case, spaces and
    punctuation do not count. For corpora with copies, mirrored pages and overlapping chunks.
    Reads `documents`; writes `documents` in the same order, with the ids of the duplicates in
    `metadata["duplicates"]`.
    Example: `{use: dedupe, threshold: 0.8}`
    """

    writes = "documents"
    light = True

    threshold: float = Field(
        default=0.8, gt=0, le=1, description="Jaccard similarity of duplicates; 1: the same words"
    )
    shingle: PositiveInt = Field(default=5, description="words of an n-gram")

    def run(self, documents: list[Document]) -> list[Document]:
        """The documents without duplicates."""
        found = list(unique(documents).values())
        sets = [shingles(document.page_content, self.shingle) for document in found]
        return without_duplicates(
            found, lambda one, at: jaccard(sets[one], sets[at]) >= self.threshold
        )


def shingles(text: str, size: int) -> frozenset[tuple[str, ...]]:
    """The set of n-grams of `size` words of the text; of a shorter text the one that it is."""
    words = _WORD.findall(text.casefold())
    last = max(len(words) - size, 0)
    return frozenset(tuple(words[at : at + size]) for at in range(last + 1))


def jaccard(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    """The Jaccard similarity of two sets that are not empty, 0 to 1."""
    return len(one & other) / len(one | other)
