"""Fusion by reciprocal ranks."""

from __future__ import annotations

from collections import defaultdict

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.operators.documents import identity, unique
from rag.operators.scores import ranked


class RRF(Operator):
    """Fuses rankings by reciprocal ranks (RRF, Cormack, Clarke and Buettcher 2009).

    A document's score is the sum over the rankings of 1 / (c + rank). For rankings whose scores
    cannot be compared, such as those of BM25 and embeddings. No LLM call.
    A join: reads `documents` of every branch; writes `documents`, best first, each once.
    Example: `{use: rrf, k: 50}`
    """

    writes = "documents"
    light = True

    c: PositiveInt = Field(
        default=60, description="smoothing constant; higher: lower ranks count for more"
    )
    k: PositiveInt | None = Field(
        default=None, description="number of documents to keep; default: all"
    )

    def run(self, documents: list[list[Document]]) -> list[Document]:
        """The fused ranking; ties keep the order of first appearance."""
        totals: dict[str, float] = defaultdict(float)
        for ranking in documents:
            for rank, document in enumerate(unique(ranking).values(), start=1):
                totals[identity(document)] += 1 / (self.c + rank)
        found = unique(document for ranking in documents for document in ranking)
        return ranked(list(found.values()), [totals[key] for key in found], self.use)[: self.k]
