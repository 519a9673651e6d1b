"""Step-back prompting: the more general question behind a question."""

from __future__ import annotations

from pydantic import PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.models.list_output import first_line
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, limit, limit_field, prompt_field


class StepBack(Operator):
    """Adds a more general question (step-back prompting, Zheng et al. 2023, arXiv 2310.06117).

    Section 2 of the paper. For questions about a special case of a general rule. LLM calls: 1.
    Reads `query`; writes `queries`: the question and a more general one.
    Example: `{use: step_back}`
    """

    writes = "queries"
    span_kind = "LLM"

    max_tokens: PositiveInt | None = limit_field(64)
    system: str | None = prompt_field("step_back")

    async def run(self, query: str, *, llm: LLM, ctx: RunContext) -> list[str]:
        """The question and the general one; the question alone if the model returns none."""
        if not query.strip():
            return [query]
        call = ModelCall(llm, ctx)
        done = await ask(
            call,
            self.system or call.texts["step_back"].text,
            query,
            max_tokens=limit(call, self.max_tokens, 64),
        )
        general = first_line(done.text)
        return [query] if general.casefold() in ("", query.casefold()) else [query, general]
