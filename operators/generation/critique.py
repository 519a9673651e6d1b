"""Critiques of answers."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, prompt_field, with_answer


class Critique(Operator):
    """Criticises each answer: what is wrong or missing (Archon, arXiv 2409.15254, section 3.1).

    Saad-Falcon et al. 2024. Between `rank_answers` and `llm_fusion`. LLM calls: answers.
    Reads `query`, `answers` and `documents`; writes `critiques`, one for each answer; empty if
    the model returns nothing.
    Example: `{use: critique}`
    """

    writes = "critiques"
    span_kind = "LLM"

    max_tokens: PositiveInt = Field(default=64, description="output limit of each, in tokens")
    system: str = prompt_field("critique")

    async def run(
        self,
        query: str,
        answers: list[str],
        documents: list[Document],
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> list[str]:
        """A critique of each answer."""
        call = ModelCall(llm, ctx)
        found = []
        for answer in answers:
            asked = with_answer(call, query, answer)
            done = await ask(call, self.system, asked, documents, max_tokens=self.max_tokens)
            found.append(done.text.strip())
        return found
