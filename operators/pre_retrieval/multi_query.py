"""Query expansion: the same question in several wordings."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.models.list_output import lines
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, at_most, limit, limit_field, prompt_field


class MultiQuery(Operator):
    """Paraphrases the question several times (RAG-Fusion, Rackauckas 2024, arXiv 2402.03367).

    For questions whose words may differ from those of the documents: search with each query and
    fuse the results. LLM calls: 1.
    Reads `query`; writes `queries`, the question itself first.
    Example: `{use: multi_query, n: 3}`
    """

    writes = "queries"
    span_kind = "LLM"

    n: PositiveInt = Field(default=3, description="number of paraphrases besides the question")
    max_tokens: PositiveInt | None = limit_field(128)
    system: str | None = prompt_field("multi_query")

    async def run(self, query: str, *, llm: LLM, ctx: RunContext) -> list[str]:
        """The question and its paraphrases; fewer if the model returns fewer."""
        if not query.strip():
            return [query]
        call = ModelCall(llm, ctx)
        system = at_most(call, self.system or call.texts["multi_query"].text, self.n)
        done = await ask(call, system, query, max_tokens=limit(call, self.max_tokens, 128))
        return [query, *lines(done.text, self.n, but=query)]
