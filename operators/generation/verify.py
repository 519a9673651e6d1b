"""Checks of the answer against the documents, and what is said when it fails them."""

from __future__ import annotations

import re
from typing import Literal

from langchain_core.documents import Document
from pydantic import BaseModel, Field
from rag.operators.asking import Asking, about, told
from rag.operators.generation.cite import support

from rag.flow import Context, Operator
from rag.llm import LLM

DO_NOT_KNOW = "The sources do not say."
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_SAYS = re.compile(r"\w")


class Claim(BaseModel):
    """A sentence of the answer."""

    text: str
    support: float = Field(description="0 to 1: of the source that supports it most")
    source: int | None = Field(description="number of that source, from 1")


class Verify(Asking):
    """Says of every sentence of the answer how far the documents support it.

    `words`: the share of its content words in the best document, as `cite` counts. `llm`: the
    probability that the model says Yes, asked with each document (as FActScore, Min et al. 2023,
    arXiv 2305.14251, section 3; LLM calls: sentences x documents). For answers that must not say
    more than their sources; `abstain` acts on it.
    Reads `answer` and `documents`; writes `claims` and `support`: the mean over them, 0 to 1.
    Example: `{use: verify, by: words}`
    """

    writes = ("claims", "support")

    by: Literal["words", "llm"] = Field(default="words", description="what judges")
    system: str = told("verify")

    async def run(
        self, answer: str, documents: list[Document], *, llm: LLM, run: Context
    ) -> tuple[list[Claim], float]:
        """Check each sentence; an answer without one has no support."""
        claims = []
        for sentence in sentences(answer):
            scores = [await self._support(sentence, one, llm, run) for one in documents]
            best = max(range(len(scores)), key=lambda at: scores[at], default=None)
            score = 0.0 if best is None else scores[best]
            found = best + 1 if best is not None and score > 0 else None
            claims.append(Claim(text=sentence, support=round(score, 4), source=found))
        return claims, sum(claim.support for claim in claims) / max(len(claims), 1)

    async def _support(self, sentence: str, document: Document, llm: LLM, run: Context) -> float:
        if self.by == "words":
            return support(sentence, document.page_content)
        return await self._yes(
            llm, run, self.system, about("", sentence, "Statement").strip(), [document]
        )


class Abstain(Operator):
    """Puts "The sources do not say." in the place of an answer without enough support.

    Behind `verify`, where a wrong answer costs more than none (selective answering, Kamath et
    al. 2020, arXiv 2006.09462, section 3). Asks no model.
    Reads `answer` and `support`; writes `answer`.
    Example: `{use: abstain, threshold: 0.5}`
    """

    writes = "answer"

    threshold: float = Field(default=0.5, ge=0, le=1, description="support that an answer needs")
    text: str = Field(default=DO_NOT_KNOW, description="what is said instead")

    def run(self, answer: str, support: float) -> str:
        """Keep or replace."""
        return answer if support >= self.threshold and answer.strip() else self.text


def sentences(answer: str) -> list[str]:
    """The sentences that say something."""
    return [s.strip() for s in _SENTENCE.split(answer) if _SAYS.search(s)]
