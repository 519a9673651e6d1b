"""Query decomposition."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.models.list_output import lines
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, at_most, limit, limit_field, prompt_field


class Decompose(Operator):
    """Splits a question into simpler ones (least-to-most, Zhou et al. 2022, arXiv 2205.10625).

    The first stage of section 2 of the paper; the question itself is answered last. For
    questions that need several facts. If the model returns no sub-question, the question stays
    alone. LLM calls: 1.
    Reads `query`; writes `queries`, easiest first, the question itself last.
    Example: `{use: decompose, n: 3}`
    """

    writes = "queries"
    span_kind = "LLM"

    n: PositiveInt = Field(default=3, description="maximum number of sub-questions")
    max_tokens: PositiveInt | None = limit_field(128)
    system: str | None = prompt_field("decompose")

    async def run(self, query: str, *, llm: LLM, ctx: RunContext) -> list[str]:
        """The sub-questions and the question."""
        if not query.strip():
            return [query]
        call = ModelCall(llm, ctx)
        system = at_most(call, self.system or call.texts["decompose"].text, self.n)
        tokens = limit(call, self.max_tokens, 128)
        done = await ask(call, system, query, max_tokens=tokens)
        return [*lines(done.text, self.n, but=query), query]
