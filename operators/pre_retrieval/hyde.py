"""Hypothetical document embeddings (HyDE)."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, limit, limit_field, prompt_field
from rag.text.abstention import refuses

TEMPERATURE = 0.7
"""Of several passages, which would otherwise be equal."""


class HyDE(Operator):
    """Generates hypothetical passages that answer the question (Gao et al. 2022, arXiv 2212.10496).

    For questions that look nothing like the passages that answer them. `dense` then searches with
    the mean of the embeddings of the passages and the question (section 3.2 of the paper).
    LLM calls: n.
    Reads `query`; writes `passages`; empty ones are left out.
    Example: `{use: hyde}`
    """

    use = "hyde"
    writes = "passages"
    span_kind = "LLM"

    n: PositiveInt = Field(default=1, description="number of passages; several are sampled")
    seed: int = Field(default=0, description="random seed of the samples")
    max_tokens: PositiveInt | None = limit_field(96, "output limit of each")
    system: str | None = prompt_field("hyde")

    async def run(self, query: str, *, llm: LLM, ctx: RunContext) -> list[str]:
        """The passages."""
        if not query.strip():
            return []
        call = ModelCall(llm, ctx)
        system = self.system or call.texts["hyde"].text
        tokens = limit(call, self.max_tokens, 96)

        async def passage(number: int) -> str:
            sampled: dict[str, Any] = (
                {"temperature": TEMPERATURE, "seed": self.seed + number} if self.n > 1 else {}
            )
            done = await ask(call, system, query, max_tokens=tokens, **sampled)
            return done.text.strip()

        passages = await call.together(passage, range(self.n))
        return [one for one in passages if one and not refuses(one)]
