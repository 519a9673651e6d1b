"""Verification questions about a draft answer."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.models.list_output import lines
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, at_most, limit, limit_field, prompt_field, with_answer
from rag.text.abstention import abstains


class VerificationQueries(Operator):
    """Writes questions that check a draft answer (Chain-of-Verification, arXiv 2309.11495).

    The planning step of Dhuliawala et al. 2023, section 3.2. For drafts that are worth a second
    search. LLM calls: 1.
    Reads `query` and `answer`; writes `queries`; the question if the model returns none, or
    if the draft gives no answer, which has no facts.
    Example: `{use: verification_queries, n: 2}`
    """

    writes = "queries"
    span_kind = "LLM"

    n: PositiveInt = Field(default=3, description="maximum number of questions")
    max_tokens: PositiveInt | None = limit_field(128)
    system: str | None = prompt_field("verification_queries")

    async def run(self, query: str, answer: str, *, llm: LLM, ctx: RunContext) -> list[str]:
        """The questions."""
        if abstains(answer):
            return [query]
        call = ModelCall(llm, ctx)
        draft = with_answer(call, call.texts["layout_question"].format(question=query), answer)
        system = at_most(call, self.system or call.texts["verification_queries"].text, self.n)
        tokens = limit(call, self.max_tokens, 128)
        done = await ask(call, system, draft, max_tokens=tokens)
        return lines(done.text, self.n) or [query]
