"""Fusion by scores."""

from __future__ import annotations

from collections import defaultdict

from langchain_core.documents import Document
from pydantic import Field, NonNegativeFloat, PositiveInt

from rag.flow import Operator, RunContext
from rag.operators.documents import unique
from rag.operators.scores import min_max, ranked, score_of


class WeightedSum(Operator):
    """Fuses rankings by a weighted sum of min-max normalised scores (CombSUM, Fox and Shaw 1994).

    With weights that sum to 1 it is the convex combination of Bruch et al. 2022 (arXiv
    2210.11934). For rankings whose scores say more than their order (Modular RAG, arXiv
    2407.21059, section IV-F-3, weighted ensemble). No LLM call.
    A join: reads `documents` of every branch by name; writes `documents`, best first, each once.
    Example: `{use: weighted_sum, weights: {dense: 0.7, sparse: 0.3}}`
    """

    writes = "documents"
    light = True

    weights: dict[str, NonNegativeFloat] = Field(
        default_factory=dict, description="branch to weight; 1 for a branch without one"
    )
    k: PositiveInt | None = Field(
        default=None, description="number of documents to keep; default: all"
    )

    def run(self, documents: dict[str, list[Document]], *, ctx: RunContext) -> list[Document]:
        """The fused ranking; ties keep the order of first appearance."""
        if unknown := sorted(self.weights.keys() - documents.keys()):
            ctx.warn(
                f"no branch is called {', '.join(unknown)}, which has a weight; "
                f"there are: {', '.join(documents)}"
            )
        totals: dict[str, float] = defaultdict(float)
        for branch, ranking in documents.items():
            each = unique(ranking)
            shares = min_max([score_of(one) or 0.0 for one in each.values()])
            for key, share in zip(each, shares, strict=True):
                totals[key] += self.weights.get(branch, 1.0) * share
        found = unique(document for ranking in documents.values() for document in ranking)
        return ranked(list(found.values()), [totals[key] for key in found], self.use)[: self.k]
