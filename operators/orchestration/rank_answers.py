"""Ranking of answers by a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.judging import By, PromptField, explained, judged, method
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, limit, with_answer, with_answers
from rag.operators.rankings import permutation

RANKING = 32
"""Tokens of a ranking."""


class RankAnswers(Operator):
    """Ranks answers by how good the model judges them, best first.

    Archon's ranker (arXiv 2409.15254, section 3.1), for answers too many to fuse. By `list`: the
    model orders all of them at once, beside the documents, as in the paper. By `likelihood`: the
    share of the question's surprisal that the answer explains and, if there are documents, the
    share of the answer's that these explain. By `grade` and `answer`: how well it answers the
    question, each alone. `docs/operators.md` has what that is worth with a small model. LLM calls:
    1; by grade or answer n for n answers; by likelihood n + 1, with documents 3n + 1.
    A join: reads `answer` of every branch, `query` and, if present, `documents`; writes
    `answers`, the first k, each once.
    Example: `{use: rank_answers, k: 2}`
    """

    writes = "answers"
    span_kind = "LLM"

    k: PositiveInt = Field(default=3, description="number of answers to keep")
    by: By | Literal["list"] | None = Field(
        default=None,
        description="how to judge; default: likelihood if the model scores texts, else list",
    )
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
        if len(given) < 2:
            return given
        by = self.by or ("likelihood" if call.scores else "list")
        if by == "list":
            return await self._listed(call, query, given, documents or ())
        _, system = method(call, by, self.system, likelihood="question_answered", answer="useful")
        if by == "likelihood":
            values = await self._explained(call, query, given, documents, system)
        else:
            questions = [with_answer(call, query, one) for one in given]
            values = await call.together(lambda one: judged(call, by, system, one), questions)
        scores = dict(zip(given, values, strict=True))
        return sorted(given, key=lambda one: -scores[one])[: self.k]

    async def _listed(
        self, call: ModelCall, query: str, answers: list[str], documents: Sequence[Document]
    ) -> list[str]:
        done = await ask(
            call,
            self.system or call.texts["rank_answers"].text,
            with_answers(call, query, answers),
            documents,
            max_tokens=limit(call, None, RANKING),
        )
        return [answers[at] for at in permutation(done.text, len(answers))][: self.k]

    async def _explained(
        self,
        call: ModelCall,
        query: str,
        answers: list[str],
        documents: list[Document] | None,
        system: str,
    ) -> list[float]:
        values = await explained(
            call, query, [[Document(page_content=one)] for one in answers], system
        )
        if not documents:
            return values
        instruction = call.texts["generate"].text

        async def supported(answer: str) -> float:
            (share,) = await explained(call, answer, [documents or ()], query, instruction)
            return share

        shares = await call.together(supported, answers)
        return [value + share for value, share in zip(values, shares, strict=True)]
