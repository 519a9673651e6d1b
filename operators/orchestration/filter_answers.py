"""Answers without support are dropped."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.answering import DO_NOT_KNOW
from rag.operators.judging import ByField
from rag.operators.model_call import ModelCall
from rag.operators.orchestration.llm_judge import LLMJudge
from rag.text.abstention import abstains


class FilterAnswers(Operator):
    """Drops answers that the documents do not support, by the judgement of the model.

    Archon's verifier (Saad-Falcon et al. 2024, arXiv 2409.15254, section 3.1), and the pruning
    in Tree of Clarifications (Kim et al. 2023, arXiv 2310.14696, section 3.2), with `llm_judge`'s
    question. Between answers by several branches and their fusion. LLM calls: answers, by
    likelihood twice as many; equal ones are judged once.
    A join: reads `answer` of every branch, `query`, `documents` and, if present, `queries` (with
    `pair`); writes `answers`, in which a dropped one is empty, so that the others keep their
    places. Where none is left, the first one says that the sources do not say.
    Example: `{use: filter_answers}`
    """

    writes = "answers"
    span_kind = "LLM"

    pair: bool = Field(default=False, description="whether each answer is to one of `queries`")
    by: ByField = None
    threshold: float | None = Field(
        default=None, le=1, description="score that is needed; default: as of `llm_judge`"
    )

    async def run(
        self,
        query: str,
        answer: list[str],
        documents: list[Document],
        queries: list[str] | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> list[str]:
        """The answers; empty where one was dropped."""
        pairs = queries if self.pair and queries and len(queries) == len(answer) else None
        questions = pairs or [query] * len(answer)
        judge = LLMJudge(aspect="supported", by=self.by, threshold=self.threshold)

        async def holds(one: tuple[str, str]) -> bool:
            verdict, _ = await judge.run(one[0], documents, one[1], llm=llm, ctx=ctx)
            return verdict

        given = list(zip(questions, answer, strict=True))
        distinct = [one for one in dict.fromkeys(given) if not abstains(one[1])]
        verdicts = await ModelCall(llm, ctx).together(holds, distinct)
        kept = {one for one, verdict in zip(distinct, verdicts, strict=True) if verdict}
        if dropped := len(distinct) - len(kept):
            ctx.warn(f"{dropped} of {len(distinct)} answers are not supported and were dropped")
        if not kept:
            first = next((one for one in answer if one.strip() and abstains(one)), DO_NOT_KNOW)
            return [first, *[""] * (len(answer) - 1)]
        return [one[1] if one in kept else "" for one in given]
