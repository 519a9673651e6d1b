"""Critiques of answers, before they are fused (Archon, Saad-Falcon et al. 2024)."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt
from rag.operators.asking import Asking, about, told

from rag.flow import Context
from rag.llm import LLM


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
        run: Context,
    ) -> list[str]:
        """Ask for each."""
        found = []
        for answer in answers:
            asked = about(llm, run, query, answer)
            found.append((await self._ask(llm, run, self.system, asked, documents)).text.strip())
        return found
