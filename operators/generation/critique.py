"""Critiques of answers."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, limit, limit_field, prompt_field, with_answer
from rag.text.abstention import abstains


class Critique(Operator):
    """Criticises each answer: what is wrong or missing (Archon, arXiv 2409.15254, section 3.1).

    Saad-Falcon et al. 2024. Between `rank_answers` and `llm_fusion`. LLM calls: answers.
    Reads `query`, `answers` and `documents`; writes `critiques`, one for each answer; empty if
    the model returns nothing, or the answer gives none.
    Example: `{use: critique}`
    """

    writes = "critiques"
    span_kind = "LLM"

    max_tokens: PositiveInt | None = limit_field(64, "output limit of each")
    system: str | None = prompt_field("critique")

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
        system = self.system or call.texts["critique"].text
        tokens = limit(call, self.max_tokens, 64)

        async def critique(answer: str) -> str:
            if abstains(answer):
                return ""
            question = with_answer(call, query, answer)
            done = await ask(call, system, question, documents, max_tokens=tokens)
            return done.text.strip()

        return await call.together(critique, answers)
