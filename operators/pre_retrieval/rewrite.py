"""Queries in other words: one better one, several, or a more general one."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.asking import Asking, told
from rag.prompts.templates import prompts
from rag.text.lists import first_line, lines


class Rewrite(Asking):
    """Makes a search query of a question (Ma et al. 2023, arXiv 2305.14283, section 3).

    For questions that are wordy or chatty. Where the model writes nothing, the question stays.
    LLM calls: 1.
    Reads `query`; writes `query`: rename it where the answer is to be to the question as asked.
    Example: `{use: rewrite, outputs: {query: search}}`
    """

    writes = "query"

    system: str = told("rewrite")

    async def run(self, query: str, *, llm: LLM, ctx: RunContext) -> str:
        """Ask for the query; the first line counts."""
        if not query.strip():
            return query
        done = await self._ask(llm, ctx, self.system, query)
        return first_line(done.text) or query


class MultiQuery(Asking):
    """Asks the same in several wordings (RAG-Fusion, Rackauckas 2024, arXiv 2402.03367).

    For questions whose words may not be those of the documents; search each, and fuse.
    LLM calls: 1.
    Reads `query`; writes `queries`, the question itself first.
    Example: `{use: multi_query, n: 3}`
    """

    writes = "queries"

    n: PositiveInt = Field(default=3, description="how many wordings besides the question")
    max_tokens: PositiveInt = Field(default=128, description="the model's answer at most")
    system: str = told("multi_query")

    async def run(self, query: str, *, llm: LLM, ctx: RunContext) -> list[str]:
        """Ask for the wordings; those that the model does not write are missing."""
        if not query.strip():
            return [query]
        count = prompts()["multi_query_count"]
        system = count.format(instruction=self.system, n=self.n)
        done = await self._ask(llm, ctx, system, query)
        return [query, *lines(done.text, self.n, but=query)]


class StepBack(Asking):
    """Asks for the background as well (step-back prompting, Zheng et al. 2023, arXiv 2310.06117).

    Section 2 of the paper. For questions about a special case of a general rule. LLM calls: 1.
    Reads `query`; writes `queries`: the question and a more general one.
    Example: `{use: step_back}`
    """

    writes = "queries"

    system: str = told("step_back")

    async def run(self, query: str, *, llm: LLM, ctx: RunContext) -> list[str]:
        """Ask for the general question; without one the question stays alone."""
        if not query.strip():
            return [query]
        general = first_line((await self._ask(llm, ctx, self.system, query)).text)
        return [query] if general.casefold() in ("", query.casefold()) else [query, general]


class ExtendQuery(Operator):
    """Searches with what was answered so far (ITER-RETGEN, Shao et al. 2023, arXiv 2305.15294).

    For questions whose answer names what must be looked up next. Asks no model.
    Reads `query` and, where there is one, `answer`; writes `search`: both together.
    Example: `{use: extend_query}`
    """

    writes = "search"
    light = True

    def run(self, query: str, answer: str = "") -> str:
        """Put them together (section 3.1 of the paper)."""
        return f"{query} {answer}".strip()
