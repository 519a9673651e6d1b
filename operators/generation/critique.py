"""Critiques of answers, before they are fused (Archon, Saad-Falcon et al. 2024)."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import RunContext
from rag.models import LLM
from rag.operators.asking import Asking, about, told


class Critique(Asking):
    """Says of each answer what is wrong or missing (Archon, arXiv 2409.15254, section 3.1).

    Between `rank_answers` and `llm_fusion`. LLM calls: answers. Where the model says nothing, the
    critique is empty.
    Reads `query`, `answers` and `documents`; writes `critiques`, one for each answer.
    Example: `{use: critique}`
    """

    writes = "critiques"

    max_tokens: PositiveInt = Field(default=64, description="each critique at most")
    system: str = told("critique")

    async def run(
        self,
        query: str,
        answers: list[str],
        documents: list[Document],
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> list[str]:
        """Ask for each."""
        found = []
        for answer in answers:
            asked = about(llm, ctx, query, answer)
            found.append((await self._ask(llm, ctx, self.system, asked, documents)).text.strip())
        return found
