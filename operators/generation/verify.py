"""Checks of the answer against the documents, and what is said when it fails them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from langchain_core.documents import Document
from pydantic import BaseModel, Field

from rag.flow import Operator, RunContext
from rag.models import LLM, NLI
from rag.operators.asking import Judging, about, told
from rag.operators.generation.cite import support
from rag.text.sentences import sentences as split

DO_NOT_KNOW = "The sources do not say."
_SAYS = re.compile(r"\w")


class Claim(BaseModel):
    """A sentence of the answer."""

    text: str
    support: float = Field(description="0 to 1: of the source that supports it most")
    source: int | None = Field(description="number of that source, from 1")


class Verify(Operator):
    """Says of every sentence of the answer how far the documents support it, by its words.

    Support is the share of the sentence's content words in the best document, as `cite` counts:
    the cheapest of FActScore's judgements (Min et al. 2023, arXiv 2305.14251, section 3). For
    answers that must not say more than their sources; `abstain` acts on it. Asks no model.
    Reads `answer` and `documents`; writes `claims` and `support`: the mean over them, 0 to 1.
    Example: `{use: verify}`
    """

    writes = ("claims", "support")
    light = True

    def run(self, answer: str, documents: list[Document]) -> tuple[list[Claim], float]:
        """Check each sentence; an answer without one has no support."""
        texts = [document.page_content for document in documents]
        return judged(answer, [[support(one, text) for text in texts] for one in sentences(answer)])


class VerifyNLI(Operator):
    """Says of every sentence of the answer how far the documents entail it.

    The probability of entailment by a model of natural language inference, the document being
    the premise (TRUE, Honovich et al. 2022, arXiv 2204.04991, section 3). Needs the resource
    `nli`. The best judge for its cost where such a model is at hand. Asks no language model.
    Reads `answer` and `documents`; writes `claims` and `support`: the mean over them, 0 to 1.
    Example: `{use: verify_nli}`
    """

    use: ClassVar[str] = "verify_nli"
    writes = ("claims", "support")

    def run(self, answer: str, documents: list[Document], *, nli: NLI) -> tuple[list[Claim], float]:
        """Check each sentence; an answer without one has no support."""
        texts = [document.page_content for document in documents]
        return judged(answer, [nli.entails(texts, one) for one in sentences(answer)])


class VerifyLLM(Judging):
    """Asks the model of every sentence of the answer whether a document supports it.

    The probability that the model says Yes, asked with each document (FActScore, Min et al. 2023,
    arXiv 2305.14251, section 3). For models of several billion parameters: small ones say Yes or
    No by habit. LLM calls: sentences x documents.
    Reads `answer` and `documents`; writes `claims` and `support`: the mean over them, 0 to 1.
    Example: `{use: verify_llm}`
    """

    use: ClassVar[str] = "verify_llm"
    writes = ("claims", "support")

    system: str = told("verify")

    async def run(
        self, answer: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> tuple[list[Claim], float]:
        """Check each sentence; an answer without one has no support."""
        scores = []
        for sentence in sentences(answer):
            asked = about(llm, ctx, "", sentence, "statement").strip()
            scores.append([await self._yes(llm, ctx, self.system, asked, [d]) for d in documents])
        return judged(answer, scores)


class Abstain(Operator):
    """Puts "The sources do not say." in the place of an answer without enough support.

    Behind `verify`, where a wrong answer costs more than none (selective answering, Kamath et
    al. 2020, arXiv 2006.09462, section 3). Asks no model.
    Reads `answer` and `support`; writes `answer`.
    Example: `{use: abstain, threshold: 0.5}`
    """

    writes = "answer"
    light = True

    threshold: float = Field(default=0.5, ge=0, le=1, description="support that an answer needs")
    text: str = Field(default=DO_NOT_KNOW, description="what is said instead")

    def run(self, answer: str, support: float) -> str:
        """Keep or replace."""
        return answer if support >= self.threshold and answer.strip() else self.text


def judged(answer: str, scores: Sequence[Sequence[float]]) -> tuple[list[Claim], float]:
    """The answer's sentences with the support of the best document, and the mean over them.

    Args:
        answer: What was said.
        scores: For each of its `sentences` the support of every document, 0 to 1.
    """
    claims = []
    for sentence, row in zip(sentences(answer), scores, strict=True):
        best = max(range(len(row)), key=lambda at: row[at], default=None)
        score = 0.0 if best is None else row[best]
        found = best + 1 if best is not None and score > 0 else None
        claims.append(Claim(text=sentence, support=round(score, 4), source=found))
    return claims, sum(claim.support for claim in claims) / max(len(claims), 1)


def sentences(answer: str) -> list[str]:
    """The sentences that say something."""
    return [one for one in split(answer) if _SAYS.search(one)]
