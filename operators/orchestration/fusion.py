"""Fusion: one ranking of many."""

from __future__ import annotations

from collections import defaultdict
from typing import ClassVar

from langchain_core.documents import Document
from pydantic import Field, PositiveInt
from rag.operators.documents import identity, scored, unique

from rag.flow import Operator


class RRF(Operator):
    """Reciprocal rank fusion (Cormack, Clarke and Buettcher 2009): the sum of 1 / (c + rank).

    A join: reads `documents` of every branch; writes `documents`, best first, each once.
    """

    use: ClassVar[str] = "rrf"
    writes = "documents"

    c: PositiveInt = Field(default=60, description="how much the ranks below the first count")
    k: PositiveInt | None = Field(default=None, description="how many to keep; all if not given")

    def run(self, documents: list[list[Document]]) -> list[Document]:
        """Fuse the rankings; ties keep the order in which documents were first seen."""
        totals: dict[str, float] = defaultdict(float)
        for ranking in documents:
            for rank, document in enumerate(unique(ranking).values(), start=1):
                totals[identity(document)] += 1 / (self.c + rank)
        found = unique(document for ranking in documents for document in ranking)
        order = sorted(found, key=lambda key: -totals[key])
        return [scored(found[key], totals[key], self.use) for key in order[: self.k]]
