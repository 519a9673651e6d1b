"""A judge of what was retrieved (CRAG)."""

from __future__ import annotations

from typing import Literal

from langchain_core.documents import Document
from pydantic import Field, model_validator

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.judging import By, ByField, PromptField, explained, judged, method
from rag.operators.model_call import ModelCall

Grade = Literal["correct", "ambiguous", "incorrect"]
THRESHOLDS: dict[By, tuple[float, float]] = {
    "likelihood": (0.15, 0.3), "answer": (0.3, 0.6), "grade": (0.4, 0.7),
}  # fmt: skip
"""Irrelevant below, relevant from. Of 80 questions of NQ-open, three quarters of the gold passages
and 5 % of their nearest neighbours passed 0.3; 95 % and 25 % passed 0.15. Of the grades 0 to 4, 2
is ambiguous, 3 and 4 are correct."""


class GradeDocuments(Operator):
    """Keeps the relevant documents and grades the retrieval (CRAG, arXiv 2401.15884).

    Yan et al. 2024, section 4.3: correct if at least one document is surely relevant, incorrect
    if all are surely not, else ambiguous. Instead of the paper's fine-tuned evaluator: by
    `likelihood`, the share of the question's surprisal that a document explains; by `grade`, the
    model's grade from 0 to 4 (2: ambiguous); by `answer`, the probability of its Yes (`llm_judge`
    compares them). For retrieval that often fails.
    LLM calls: documents, by likelihood one more.
    Reads `query` and `documents`; writes `documents`, those from `lower` on, and `grade`.
    Example: `{use: grade_documents, upper: 0.3, lower: 0.15}`
    """

    writes = ("documents", "grade")
    span_kind = "LLM"

    by: ByField = None
    upper: float | None = Field(
        default=None,
        le=1,
        description="relevant from this score on; default: by likelihood 0.3, by answer 0.6, by "
        "grade 0.7",
    )
    lower: float | None = Field(
        default=None,
        le=1,
        description="irrelevant below this score; default: by likelihood 0.15, by answer 0.3, by "
        "grade 0.4",
    )
    system: PromptField = None

    @model_validator(mode="after")
    def _ordered(self) -> GradeDocuments:
        if (self.lower is None) != (self.upper is None):
            raise ValueError("give both of upper and lower, or none")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError("lower must not be above upper")
        return self

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> tuple[list[Document], Grade]:
        """The documents that are not irrelevant, and the grade of all."""
        call = ModelCall(llm, ctx)
        by, system = method(call, self.by, self.system, likelihood="question_of", answer="relevant")
        lower, upper = THRESHOLDS[by]
        if self.lower is not None and self.upper is not None:
            lower, upper = self.lower, self.upper
        if by == "likelihood":
            scores = await explained(call, query, [[one] for one in documents], system)
        else:
            scores = await call.together(
                lambda one: judged(call, by, system, query, [one]), documents
            )
        kept = [d for d, score in zip(documents, scores, strict=True) if score >= lower]
        best = max(scores, default=0.0)
        if best >= upper:
            return kept, "correct"
        return kept, "ambiguous" if best >= lower and documents else "incorrect"
