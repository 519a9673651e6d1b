"""Judges: what a flow's routes and loops are decided by (arXiv 2407.21059, section IV-F-2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from langchain_core.documents import Document
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from rag.flow import Operator, RunContext
from rag.models import LLM, Generation
from rag.operators.asking import Asking, By, Judging, Weighing, about, told
from rag.operators.documents import score_of
from rag.operators.generation.cite import support

Grade = Literal["correct", "ambiguous", "incorrect"]
Aspect = Literal["relevant", "supported", "useful"]
LIKELY: dict[Aspect, str] = {
    "relevant": "question_of",
    "supported": "generate",
    "useful": "question_answered",
}
"""What the model is told where its likelihoods judge."""
THRESHOLDS: dict[By, dict[Aspect, float]] = {
    "likelihood": {"relevant": 0.2, "supported": 0.2, "useful": 0.15},
    "answer": {"relevant": 0.5, "supported": 0.5, "useful": 0.5},
}
GRADES: dict[By, tuple[float, float]] = {"likelihood": (0.15, 0.3), "answer": (0.3, 0.6)}
"""Surely irrelevant below, surely relevant from. Of 80 questions of NQ-open, three quarters of the
gold passages and 5 % of their nearest neighbours passed 0.3; 95 % and 25 % passed 0.15."""


class RuleJudge(Operator):
    """Whether enough good documents were found. Asks no model.

    Modular RAG's rule judge (arXiv 2407.21059, section IV-F-2), for routes and loops whose
    condition is too long for an expression.
    Reads `query` and `documents`; writes `sufficient`.
    Example: `{use: rule_judge, least: 2, words: 0.3}`
    """

    writes = "sufficient"
    light = True

    least: PositiveInt = Field(default=1, description="documents that must pass")
    score: float | None = Field(default=None, description="score that a document needs")
    words: NonNegativeFloat = Field(
        default=0.0, le=1, description="share of the query's words that a document needs"
    )

    def run(self, query: str, documents: list[Document]) -> bool:
        """Count those that pass."""
        good = [
            document
            for document in documents
            if (self.score is None or (score_of(document) or 0.0) >= self.score)
            and (not self.words or support(query, document.page_content) >= self.words)
        ]
        return len(good) >= self.least


class ConfidenceJudge(Operator):
    """Whether the model was sure of its answer: the mean probability of its tokens.

    Behind `generate` with `logprobs: true`: the generated tokens' confidence as in Modular RAG's
    rule judge (arXiv 2407.21059, section IV-F-2). Where the model tells none, the confidence is 0.
    Asks no model.
    Reads `generation`; writes `sufficient` and `confidence`, 0 to 1 (geometric mean).
    Example: `{use: confidence_judge, threshold: 0.6}`
    """

    writes = ("sufficient", "confidence")
    light = True

    threshold: float = Field(default=0.6, ge=0, le=1, description="confidence that is enough")

    def run(self, generation: Generation, *, ctx: RunContext) -> tuple[bool, float]:
        """Average."""
        if not generation.logprobs:
            ctx.warn("how likely the answer's tokens were is not told: the confidence is 0")
            return False, 0.0
        confidence = _sure(generation.logprobs)
        return confidence >= self.threshold, confidence


class LLMJudge(Weighing):
    """Lets the model judge: are the documents relevant, is the answer supported, is it useful?

    Self-RAG's three questions (Asai et al. 2023, arXiv 2310.11511, table 1) put to any model in
    the place of reflection tokens. By `likelihood`: the share of its surprise that the documents
    take from the question (`relevant`) or from the answer (`supported`), or the answer from the
    question (`useful`). By `answer`: the probability of Yes over No, which a small model says by
    habit (`docs/operators.md` has the figures). Nothing found is not relevant and supports
    nothing; an empty answer is neither supported nor useful. For loops that end when the answer
    is good. LLM calls: 2 by likelihood, else 1.
    Reads `query`, `documents` and, where there is one, `answer`; writes `verdict` and `score`.
    Example: `{use: llm_judge, aspect: supported}`
    """

    use = "llm_judge"
    writes = ("verdict", "score")

    aspect: Aspect = Field(description="what is judged")
    threshold: float | None = Field(
        default=None, le=1,
        description="score needed; by likelihood 0.2, useful 0.15; else 0.5",
    )  # fmt: skip

    async def run(
        self, query: str, documents: list[Document], answer: str = "", *, llm: LLM, ctx: RunContext
    ) -> tuple[bool, float]:
        """Judge."""
        aspect = self.aspect
        if (aspect != "useful" and not documents) or (aspect != "relevant" and not answer.strip()):
            return False, 0.0
        by, system = self._way(llm, LIKELY[aspect], aspect)
        threshold = THRESHOLDS[by][aspect] if self.threshold is None else self.threshold
        if by == "answer":
            asked = query if aspect == "relevant" else about(llm, ctx, query, answer)
            found = await self._yes(
                llm, ctx, system, asked, () if aspect == "useful" else documents
            )
        elif aspect == "supported":
            (found,) = await self._explained(llm, ctx, answer, [documents], query, system)
        else:
            sources = documents if aspect == "relevant" else [Document(page_content=answer)]
            (found,) = await self._explained(llm, ctx, query, [sources], system)
        return found >= threshold, found


class GradeDocuments(Weighing):
    """Keeps the relevant documents and grades what was found (CRAG, arXiv 2401.15884).

    Yan et al. 2024, section 4.3: correct where one document is surely relevant, incorrect where
    all are surely not, ambiguous between. In the place of the fine-tuned evaluator stands, by
    `likelihood`, the share of the question's surprise that a document takes away, and by
    `answer` the model's Yes; `llm_judge` tells how they compare. For searches that often miss.
    LLM calls: documents, by likelihood one more.
    Reads `query` and `documents`; writes `documents`, those from `lower` on, and `grade`.
    Example: `{use: grade_documents, upper: 0.3, lower: 0.15}`
    """

    writes = ("documents", "grade")

    upper: float | None = Field(
        default=None, le=1, description="surely relevant from here; by likelihood 0.3, else 0.6"
    )
    lower: float | None = Field(
        default=None, le=1, description="surely irrelevant below; by likelihood 0.15, else 0.3"
    )

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
        """Judge each."""
        by, system = self._way(llm, LIKELY["relevant"], "relevant")
        lower, upper = GRADES[by]
        if self.lower is not None and self.upper is not None:
            lower, upper = self.lower, self.upper
        if by == "likelihood":
            values = await self._explained(llm, ctx, query, [[one] for one in documents], system)
        else:
            values = [await self._yes(llm, ctx, system, query, [one]) for one in documents]
        kept = [d for d, value in zip(documents, values, strict=True) if value >= lower]
        best = max(values, default=0.0)
        if best >= upper:
            return kept, "correct"
        return kept, "ambiguous" if best >= lower and documents else "incorrect"


class KnowledgeJudge(Asking, Judging):
    """Whether the model knows the answer without looking it up.

    It answers from memory; the mean probability of the tokens says how sure it is (Jiang et al.
    2023, arXiv 2305.06983, section 3.2.1). A model that tells no likelihoods is asked whether it
    knows. Schedules by the model's own knowledge (arXiv 2407.21059, section IV-F-2): for flows
    that search only when they must. LLM calls: 1, or 2 without likelihoods.
    Reads `query`; writes `known`, and the answer from memory as `answer`.
    Example: `{use: knowledge_judge, threshold: 0.8}`
    """

    writes = ("known", "answer")

    threshold: float = Field(default=0.8, ge=0, le=1, description="probability that is enough")
    system: str = told("knowledge_judge")
    question: str = told("knows")

    async def run(self, query: str, *, llm: LLM, ctx: RunContext) -> tuple[bool, str]:
        """Answer from memory."""
        if not query.strip():
            return False, ""
        done = await self._ask(llm, ctx, self.system, query, logprobs=llm.supports_logprobs)
        answer = done.text.strip()
        if not answer:
            return False, ""
        if done.logprobs:
            sure = _sure(done.logprobs)
        else:
            sure = await self._yes(llm, ctx, self.question, query)
        return sure >= self.threshold, answer


def _sure(logprobs: Sequence[tuple[str, float]]) -> float:
    """The geometric mean of the tokens' probabilities."""
    return math.exp(sum(value for _, value in logprobs) / len(logprobs))
