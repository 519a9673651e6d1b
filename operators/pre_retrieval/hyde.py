"""Hypothetical documents: what an answer would look like, to search by its embedding."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt

from rag.flow import RunContext
from rag.models import LLM
from rag.operators.asking import Asking, told


class HyDE(Asking):
    """Writes a passage that could answer the question (Gao et al. 2022, arXiv 2212.10496).

    For questions that look nothing like the passages that answer them. `dense` then searches with
    the mean of the embeddings of the passages and the question (section 3.2 of the paper).
    LLM calls: n.
    Reads `query`; writes `passages`; none where the model writes nothing.
    Example: `{use: hyde}`
    """

    use = "hyde"
    writes = "passages"

    n: PositiveInt = Field(default=1, description="how many; more than one are drawn by chance")
    seed: int = Field(default=0, description="of the draws")
    max_tokens: PositiveInt = Field(default=96, description="each passage at most")
    system: str = told("hyde")

    async def run(self, query: str, *, llm: LLM, ctx: RunContext) -> list[str]:
        """Ask for the passages."""
        if not query.strip():
            return []
        found = []
        for number in range(self.n):
            chance: dict[str, Any] = (
                {"temperature": 0.7, "seed": self.seed + number} if self.n > 1 else {}
            )
            done = await self._ask(llm, ctx, self.system, query, **chance)
            found.append(done.text.strip())
        return [passage for passage in found if passage]
