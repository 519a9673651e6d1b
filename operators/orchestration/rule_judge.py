"""A judge by rules."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, NonNegativeFloat, PositiveInt

from rag.flow import Operator
from rag.operators.scores import score_of
from rag.operators.support import support


class RuleJudge(Operator):
    """Judges by rules whether enough good documents were retrieved.

    Modular RAG's rule judge (arXiv 2407.21059, section IV-F-2), for routes and loops whose
    condition is too long for an expression. No LLM call.
    Reads `query` and `documents`; writes `sufficient`.
    Example: `{use: rule_judge, min_documents: 2, min_overlap: 0.3}`
    """

    writes = "sufficient"
    light = True

    min_documents: PositiveInt = Field(default=1, description="number of documents that must pass")
    min_score: float | None = Field(default=None, description="score that a document needs")
    min_overlap: NonNegativeFloat = Field(
        default=0.0, le=1, description="share of the query's words that a document needs"
    )

    def run(self, query: str, documents: list[Document]) -> bool:
        """Whether enough documents pass."""
        good = [
            document
            for document in documents
            if (self.min_score is None or (score_of(document) or 0.0) >= self.min_score)
            and (not self.min_overlap or support(query, document.page_content) >= self.min_overlap)
        ]
        return len(good) >= self.min_documents
