"""Ranking of answers by a language model."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.judging import ByField, PromptField, explained, method, yes
from rag.operators.model_call import ModelCall
from rag.operators.prompting import with_answer
from rag.prompts.templates import prompts


class RankAnswers(Operator):
    """Ranks answers by how good the model judges them, best first.

    Archon's ranker (arXiv 2409.15254, section 3.1), for answers too many to fuse. By
    `likelihood`: the share of the question's surprisal that the answer explains and, if there are
    documents, the share of the answer's that these explain. By `answer`: the probability of Yes
    to whether it answers the question. `docs/operators.md` has what that is worth with a small
    model. LLM calls: n for n answers; by likelihood n + 1, with documents 3n + 1.
    A join: reads `answer` of every branch, `query` and, if present, `documents`; writes
    `answers`, the first k, each once.
    Example: `{use: rank_answers, k: 2}`
    """

    writes = "answers"
    span_kind = "LLM"

    k: PositiveInt = Field(default=3, description="number of answers to keep")
    by: ByField = None
    system: PromptField = None

    async def run(
        self,
        query: str,
        answer: list[str],
        documents: list[Document] | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> list[str]:
        """The ranking; ties keep their order."""
        call = ModelCall(llm, ctx)
        given = list(dict.fromkeys(one.strip() for one in answer if one.strip()))
        by, system = method(
            llm, self.by, self.system, likelihood="question_answered", answer="useful"
        )
        if by == "answer":
            asked = [with_answer(call, query, one) for one in given]
            values = [await yes(call, system, one) for one in asked]
        else:
            groups = [[Document(page_content=one)] for one in given]
            values = await explained(call, query, groups, system)
            instruction = prompts()["generate"].text
            for at, one in enumerate(given if documents else ()):
                (found,) = await explained(call, one, [documents or ()], query, instruction)
                values[at] += found
        scores = dict(zip(given, values, strict=True))
        return sorted(given, key=lambda one: -scores[one])[: self.k]
