"""Candidates for the answer to a question (SuRe)."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.models.list_output import lines
from rag.operators.claims import unmarked
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, at_most, limit, limit_field, prompt_field
from rag.text.abstention import abstains


class AnswerCandidates(Operator):
    """Writes several short answers that the question may have, by the documents.

    The first step of SuRe (Kim et al. 2024, arXiv 2404.13081, section 3.2). For questions to
    which documents suggest several answers; `summarize` and `rank_candidates` follow. Without
    documents there are none. LLM calls: 1.
    Reads `query` and `documents`; writes `candidates`, each once; empty if the model names none.
    Example: `{use: answer_candidates, n: 2}`
    """

    writes = "candidates"
    span_kind = "LLM"

    n: PositiveInt = Field(default=2, description="maximum number of candidates")
    max_tokens: PositiveInt | None = limit_field(64)
    system: str | None = prompt_field("answer_candidates")

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> list[str]:
        """The candidates."""
        if not documents or not query.strip():
            return []
        call = ModelCall(llm, ctx)
        system = at_most(call, self.system or call.texts["answer_candidates"].text, self.n)
        tokens = limit(call, self.max_tokens, 64)
        done = await ask(call, system, query, documents, max_tokens=tokens)
        named = [unmarked(one).strip() for one in lines(done.text, self.n)]
        return [one for one in dict.fromkeys(named) if one and not abstains(one)]
