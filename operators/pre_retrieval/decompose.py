"""Questions made of a question: its parts, its meanings, and checks of an answer."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import RunContext
from rag.models import LLM
from rag.operators.asking import Asking, about, told
from rag.prompts.templates import prompts
from rag.text.lists import lines


class Decompose(Asking):
    """Breaks a question into simpler ones (least-to-most, Zhou et al. 2022, arXiv 2205.10625).

    Section 2 of the paper, its first stage: the question itself is the last of those to be
    answered. For questions that need several facts. Where the model finds none, the question
    stays alone. LLM calls: 1.
    Reads `query`; writes `queries`, easiest first, the question itself last.
    Example: `{use: decompose, n: 3}`
    """

    writes = "queries"

    n: PositiveInt = Field(default=3, description="how many simpler questions at most")
    max_tokens: PositiveInt = Field(default=128, description="the model's answer at most")
    system: str = told("decompose")

    async def run(self, query: str, *, llm: LLM, ctx: RunContext) -> list[str]:
        """Ask for the questions."""
        if not query.strip():
            return [query]
        done = await self._ask(llm, ctx, self.system, query)
        return [*lines(done.text, self.n, but=query), query]


class Clarify(Asking):
    """Finds what an ambiguous question may mean (Tree of Clarifications, arXiv 2310.14696).

    For ambiguous questions: their meanings come from the documents that they find (Kim et al.
    2023, section 3, retrieval-augmented clarification). LLM calls: 1.
    Reads `query` and `documents`; writes `queries`; the question alone where it is clear.
    Example: `{use: clarify, n: 2}`
    """

    writes = "queries"

    n: PositiveInt = Field(default=2, description="how many meanings at most")
    max_tokens: PositiveInt = Field(default=96, description="the model's answer at most")
    system: str = told("clarify")

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> list[str]:
        """Ask for the meanings."""
        if not query.strip():
            return [query]
        done = await self._ask(llm, ctx, self.system, query, documents)
        return lines(done.text, self.n) or [query]


class VerificationQueries(Asking):
    """Asks what must hold if an answer is right (chain of verification, arXiv 2309.11495).

    For drafts that are worth a second search (Dhuliawala et al. 2023, section 3.2, planning).
    LLM calls: 1.
    Reads `query` and `answer`; writes `queries`; the question where the model asks nothing.
    Example: `{use: verification_queries, n: 2}`
    """

    writes = "queries"

    n: PositiveInt = Field(default=3, description="how many questions at most")
    max_tokens: PositiveInt = Field(default=128, description="the model's answer at most")
    system: str = told("verification_queries")

    async def run(self, query: str, answer: str, *, llm: LLM, ctx: RunContext) -> list[str]:
        """Ask for the questions."""
        if not answer.strip():
            return [query]
        asked = about(llm, ctx, prompts()["layout_question"].format(question=query), answer)
        done = await self._ask(llm, ctx, self.system, asked)
        return lines(done.text, self.n) or [query]
