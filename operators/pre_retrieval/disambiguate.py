"""Disambiguation: the questions that an ambiguous question may mean."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.models.list_output import lines
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, at_most, limit, limit_field, prompt_field

CLEAR = "CLEAR"
"""What a strong model writes of a question with one meaning."""


class Disambiguate(Operator):
    """Lists the meanings of an ambiguous question (Tree of Clarifications, arXiv 2310.14696).

    For ambiguous questions, whose meanings are taken from the documents retrieved for them (Kim
    et al. 2023, section 3, retrieval-augmented clarification). A strong model may find the question
    clear; a small one's prompt presumes that it is not. LLM calls: 1.
    Reads `query` and `documents`; writes `queries`; the question alone if the model returns none.
    Example: `{use: disambiguate, n: 2}`
    """

    writes = "queries"
    span_kind = "LLM"

    n: PositiveInt = Field(default=2, description="maximum number of meanings")
    max_tokens: PositiveInt | None = limit_field(96)
    system: str | None = prompt_field("disambiguate")

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> list[str]:
        """A question for each meaning."""
        if not query.strip():
            return [query]
        call = ModelCall(llm, ctx)
        system = at_most(call, self.system or call.texts["disambiguate"].text, self.n)
        tokens = limit(call, self.max_tokens, 96)
        done = await ask(call, system, query, documents, max_tokens=tokens)
        if done.text.strip(" .*").upper() == CLEAR:
            return [query]
        return lines(done.text, self.n) or [query]
