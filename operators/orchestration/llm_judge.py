"""A judge by a language model."""

from __future__ import annotations

import math
from typing import Literal

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.judging import By, ByField, PromptField, explained, judged, method
from rag.operators.model_call import ModelCall
from rag.operators.prompting import with_answer

Aspect = Literal["relevant", "supported", "useful"]
PROMPTS: dict[Aspect, str] = {
    "relevant": "question_of",
    "supported": "generate",
    "useful": "question_answered",
}
"""The prompt for likelihoods; that for Yes or No has the aspect's name, `grade_` before it that for
grades."""
THRESHOLDS: dict[By, dict[Aspect, float]] = {
    "likelihood": {"relevant": 0.2, "supported": 0.2, "useful": 0.15},
    "answer": {"relevant": 0.5, "supported": 0.5, "useful": 0.5},
    "grade": {"relevant": 0.5, "supported": 0.7, "useful": 0.5},
}


class LLMJudge(Operator):
    """Judges by the model: are the documents relevant, is the answer supported, is it useful?

    Self-RAG's three questions (Asai et al. 2023, arXiv 2310.11511, table 1) to any model instead of
    reflection tokens. By `likelihood`: the share of surprisal that the documents explain of the
    question (`relevant`) or of the answer (`supported`), or the answer of the question
    (`useful`). By `grade`: the model's grade from 0 to 4, as 0 to 1. By `answer`: the
    probability of Yes over No, which a small model gives regardless (`docs/operators.md` has
    the figures). No documents are not relevant and support nothing; an empty answer is neither
    supported nor useful. For loops that end when the answer is good.
    LLM calls: 2 by likelihood, else 1.
    Reads `query`, `documents` and, if present, `answer`; writes `verdict` and `score`.
    Example: `{use: llm_judge, aspect: supported}`
    """

    writes = ("verdict", "score")
    span_kind = "LLM"

    aspect: Aspect = Field(description="what is judged")
    by: ByField = None
    threshold: float | None = Field(
        default=None,
        le=1,
        description="score that is needed; default: by likelihood 0.2 (useful: 0.15), by grade 0.5 "
        "(supported: 0.7), by answer 0.5",
    )
    system: PromptField = None

    async def run(
        self, query: str, documents: list[Document], answer: str = "", *, llm: LLM, ctx: RunContext
    ) -> tuple[bool, float]:
        """Whether the score reaches the threshold, and the score."""
        score, threshold = await self.scored(query, documents, answer, llm=llm, ctx=ctx)
        return score >= threshold, score

    async def scored(
        self, query: str, documents: list[Document], answer: str, *, llm: LLM, ctx: RunContext
    ) -> tuple[float, float]:
        """The score, and the threshold that it needs; infinite where nothing can reach it."""
        aspect = self.aspect
        if (aspect != "useful" and not documents) or (aspect != "relevant" and not answer.strip()):
            return 0.0, math.inf
        call = ModelCall(llm, ctx)
        by, system = method(call, self.by, self.system, likelihood=PROMPTS[aspect], answer=aspect)
        threshold = THRESHOLDS[by][aspect] if self.threshold is None else self.threshold
        if by != "likelihood":
            question = query if aspect == "relevant" else with_answer(call, query, answer)
            sources = [] if aspect == "useful" else documents
            return await judged(call, by, system, question, sources), threshold
        if aspect == "supported":
            (score,) = await explained(call, answer, [documents], query, system)
        else:
            sources = documents if aspect == "relevant" else [Document(page_content=answer)]
            (score,) = await explained(call, query, [sources], system)
        return score, threshold
