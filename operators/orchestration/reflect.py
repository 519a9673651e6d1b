"""Reflection on an answer: is it supported, is it useful, how good is it altogether (Self-RAG)."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.judging import ByField
from rag.operators.model_call import ModelCall
from rag.operators.orchestration.llm_judge import Aspect, LLMJudge
from rag.text.abstention import abstains

SUPPORT, USE = 1.0, 0.5
"""Weights of the paper, section 4."""


class Reflect(Operator):
    """Judges whether an answer is supported and useful, and how good it is altogether.

    Self-RAG's critique of a segment (Asai et al. 2023, arXiv 2310.11511, section 3.3): the
    weighted sum of how far the documents support it (weight 1) and of how useful it is (0.5), by
    `llm_judge` instead of reflection tokens. Both are scaled so that 0.5 is the judge's
    threshold, and so is the sum. An answer that says that the sources have none scores 0. For
    loops that keep the best turn. LLM calls: 4 by likelihood, else 2.
    Reads `query`, `documents` and `answer`; writes `good` (both reach 0.5), `support`, `use` and
    `score`, 0 to 1.
    Example: `{use: reflect}`
    """

    writes = ("good", "support", "use", "score")
    span_kind = "LLM"

    by: ByField = None
    support_threshold: float | None = Field(
        default=None, le=1, description="score for support that is needed; default: `llm_judge`'s"
    )
    use_threshold: float | None = Field(
        default=None, le=1, description="score for use that is needed; default: `llm_judge`'s"
    )

    async def run(
        self, query: str, documents: list[Document], answer: str, *, llm: LLM, ctx: RunContext
    ) -> tuple[bool, float, float, float]:
        """Whether it is good; support, use, and the weighted mean of both."""
        if abstains(answer):
            return False, 0.0, 0.0, 0.0

        async def judged(aspect: Aspect) -> float:
            threshold = self.support_threshold if aspect == "supported" else self.use_threshold
            judge = LLMJudge(aspect=aspect, by=self.by, threshold=threshold)
            score, needed = await judge.scored(query, documents, answer, llm=llm, ctx=ctx)
            return _level(score, needed)

        aspects: tuple[Aspect, ...] = ("supported", "useful")
        support, use = await ModelCall(llm, ctx).together(judged, aspects)
        score = (SUPPORT * support + USE * use) / (SUPPORT + USE)
        return support >= 0.5 and use >= 0.5, support, use, score


def _level(score: float, threshold: float) -> float:
    """A score on a scale from 0 to 1 on which its threshold is 0.5."""
    if score < threshold:
        return max(score, 0.0) / threshold / 2 if threshold > 0 else 0.0
    return 1 - (1 - min(score, 1.0)) / max(1 - threshold, 1e-9) / 2
