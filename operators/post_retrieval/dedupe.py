"""Deduplication: of documents that say the same, one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.models import Embedder
from rag.operators.documents import identity, unique
from rag.text.sentences import SCRIPTS

_WORD = re.compile(f"[{SCRIPTS}]|[^\\W{SCRIPTS}]+")


class Dedupe(Operator):
    """Keeps the first of documents with the same words, or nearly the same.

    Two are the same if the sets of their runs of five words overlap enough (Broder 1997, "On the
    resemblance and containment of documents": shingles, Jaccard); case, spaces and punctuation do
    not count. For corpora with copies, mirrored pages and overlapping chunks.
    Reads `documents`; writes `documents`, order kept, the ids of what was left out in
    `metadata["duplicates"]`.
    Example: `{use: dedupe, threshold: 0.8}`
    """

    writes = "documents"
    light = True

    threshold: float = Field(default=0.8, gt=0, le=1, description="1: the same words only")
    shingle: PositiveInt = Field(default=5, description="words of a run")

    def run(self, documents: list[Document]) -> list[Document]:
        """Compare each with those kept before it."""
        found = list(unique(documents).values())
        sets = [shingles(document.page_content, self.shingle) for document in found]
        return _first(found, lambda one, at: resemblance(sets[one], sets[at]) >= self.threshold)


class DedupeSemantic(Operator):
    """Keeps the first of documents whose embeddings are nearly the same: paraphrases too.

    For news and tickets, where many tell the same in other words. Numbers hardly move an
    embedding: two rows of a table may count as the same.
    Reads `documents`; writes `documents`, order kept, the ids of what was left out in
    `metadata["duplicates"]`.
    Example: `{use: dedupe_semantic, threshold: 0.95}`
    """

    use: ClassVar[str] = "dedupe_semantic"
    writes = "documents"

    threshold: float = Field(default=0.95, ge=-1, le=1, description="cosine from which they are")

    def run(self, documents: list[Document], *, embedder: Embedder) -> list[Document]:
        """Compare each with those kept before it."""
        found = list(unique(documents).values())
        vectors = embedder.embed([document.page_content for document in found])
        return _first(found, lambda one, at: float(vectors[one] @ vectors[at]) >= self.threshold)


def shingles(text: str, size: int) -> frozenset[tuple[str, ...]]:
    """All runs of `size` words of the text; of fewer words the one run that there is."""
    words = _WORD.findall(text.casefold())
    last = max(len(words) - size, 0)
    return frozenset(tuple(words[at : at + size]) for at in range(last + 1))


def resemblance(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    """The Jaccard coefficient, 0 to 1."""
    return len(one & other) / len(one | other)


def _first(documents: list[Document], same: Callable[[int, int], bool]) -> list[Document]:
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
