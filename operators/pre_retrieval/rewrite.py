"""Query rewriting."""

from __future__ import annotations

from pydantic import PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.models.list_output import first_line
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, limit, limit_field, prompt_field


class Rewrite(Operator):
    """Rewrites the question as a search query (Ma et al. 2023, arXiv 2305.14283, section 3).

    For wordy or chatty questions. If the model returns nothing, the question stays as it is.
    LLM calls: 1.
    Reads `query`; writes `query`: rename it if the answer should be to the original question.
    Example: `{use: rewrite, outputs: {query: search}}`
    """

    writes = "query"
    span_kind = "LLM"

    max_tokens: PositiveInt | None = limit_field(64)
    system: str | None = prompt_field("rewrite")

    async def run(self, query: str, *, llm: LLM, ctx: RunContext) -> str:
        """The first line of the model's output."""
        if not query.strip():
            return query
        call = ModelCall(llm, ctx)
        done = await ask(
            call,
            self.system or call.texts["rewrite"].text,
            query,
            max_tokens=limit(call, self.max_tokens, 64),
        )
        return first_line(done.text) or query
