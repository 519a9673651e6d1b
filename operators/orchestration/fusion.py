"""Fusion: one ranking of many."""

from __future__ import annotations

from collections import defaultdict
from typing import ClassVar

from langchain_core.documents import Document
from pydantic import Field, NonNegativeFloat, PositiveInt
from rag.operators.asking import Asking, about, told
from rag.operators.documents import identity, scored, unique
from rag.operators.generation.cite import support

from rag.flow import Context, Operator
from rag.llm import LLM


class RRF(Operator):
    """Reciprocal rank fusion (Cormack, Clarke and Buettcher 2009): the sum of 1 / (c + rank).

    For rankings whose scores cannot be compared, such as words' and meaning's. Asks no model.
    A join: reads `documents` of every branch; writes `documents`, best first, each once.
    Example: `{use: rrf, k: 50}`
    """

    use: ClassVar[str] = "rrf"
    writes = "documents"

    c: PositiveInt = Field(default=60, description="how much the ranks below the first count")
    k: PositiveInt | None = Field(default=None, description="how many to keep; all if not given")

    def run(self, documents: list[list[Document]]) -> list[Document]:
        """Fuse the rankings; ties keep the order in which documents were first seen."""
        totals: dict[str, float] = defaultdict(float)
        for ranking in documents:
            for rank, document in enumerate(unique(ranking).values(), start=1):
                totals[identity(document)] += 1 / (self.c + rank)
        found = unique(document for ranking in documents for document in ranking)
        order = sorted(found, key=lambda key: -totals[key])
        return [scored(found[key], totals[key], self.use) for key in order[: self.k]]


class Weighted(Operator):
    """Weighted sum of scores, each ranking's brought to 0 to 1 first (Fox and Shaw 1994, CombSUM).

    For rankings whose scores say more than their order (Modular RAG, arXiv 2407.21059, section
    IV-F-3, weighted ensemble). Asks no model.
    A join: reads `documents` of every branch by name; writes `documents`, best first, each once.
    Example: `{use: weighted, weights: {dense: 0.7, sparse: 0.3}}`
    """

    writes = "documents"

    weights: dict[str, NonNegativeFloat] = Field(
        default_factory=dict, description="branch: weight; 1 where none is given"
    )
    k: PositiveInt | None = Field(default=None, description="how many to keep; all if not given")

    def run(self, documents: dict[str, list[Document]]) -> list[Document]:
        """Fuse; ties keep the order in which documents were first seen."""
        totals: dict[str, float] = defaultdict(float)
        for branch, ranking in documents.items():
            values = [float(one.metadata.get("score", 0.0)) for one in ranking]
            low, reach = (
                min(values, default=0.0),
                max(values, default=0.0) - min(values, default=0.0),
            )
            for document, value in zip(ranking, values, strict=True):
                part = (value - low) / reach if reach else 1.0
                key = identity(document)
                totals[key] += self.weights.get(branch, 1.0) * part
        found = unique(document for ranking in documents.values() for document in ranking)
        order = sorted(found, key=lambda key: -totals[key])
        return [scored(found[key], totals[key], self.use) for key in order[: self.k]]


class Vote(Operator):
    """The answer that most agree with (self-consistency, Wang et al. 2022, arXiv 2203.11171).

    Section 2 of the paper. For branches that answer the same question, sampled or by other ways.
    Free texts are seldom equal: an answer's votes are the shares of its words in the others.
    A join: reads `answer` of every branch; writes `answer`. Asks no model; the first of equals.
    Example: `{use: vote}`
    """

    writes = "answer"

    def run(self, answer: list[str]) -> str:
        """Count."""
        given = [one for one in answer if one.strip()]
        votes = [
            sum(
                (support(one, other) + support(other, one)) / 2
                for place, other in enumerate(given)
                if place != at
            )
            for at, one in enumerate(given)
        ]
        return given[max(range(len(given)), key=lambda at: votes[at])] if given else ""


class RankAnswers(Asking):
    """Orders answers by how probably the model calls them useful, the best first.

    Archon's ranker (arXiv 2409.15254, section 3.1), for answers too many to fuse. LLM calls:
    answers.
    A join: reads `answer` of every branch, and `query`; writes `answers`, the first k, each once.
    Example: `{use: rank_answers, k: 2}`
    """

    writes = "answers"

    k: PositiveInt = Field(default=3, description="how many to keep")
    system: str = told("useful")

    async def run(self, query: str, answer: list[str], *, llm: LLM, run: Context) -> list[str]:
        """Ask for each."""
        given = list(dict.fromkeys(one.strip() for one in answer if one.strip()))
        scores = {one: await self._yes(llm, run, self.system, about(query, one)) for one in given}
        return sorted(given, key=lambda one: -scores[one])[: self.k]


class LLMFusion(Asking):
    """One answer of many, written by the model (LLM-Blender, Jiang et al. 2023, arXiv 2306.02561).

    The paper's generative fusion, and Modular RAG's LLM fusion (arXiv 2407.21059, section
    IV-F-3). For branches that each know a part. LLM calls: 1.
    A join: reads `answer` of every branch, `query` and, where there are some, `critiques`, one
    for each answer; writes `answer`. One answer stays as it is; where the model writes nothing
    the first one is taken.
    Example: `{use: llm_fusion}`
    """

    use: ClassVar[str] = "llm_fusion"
    writes = "answer"

    max_tokens: PositiveInt = Field(default=128, description="the answer at most")
    system: str = told("llm_fusion")

    async def run(
        self,
        query: str,
        answer: list[str],
        critiques: list[str] | None = None,
        *,
        llm: LLM,
        run: Context,
    ) -> str:
        """Ask for it."""
        notes = critiques if critiques and len(critiques) == len(answer) else [""] * len(answer)
        texts: dict[str, str] = {}
        for one, note in zip(answer, notes, strict=True):
            if one.strip():
                texts.setdefault(one.strip(), f"{one}\nCritique: {note}" if note else one)
        if len(texts) < 2:
            return next(iter(texts), "")
        given = [Document(page_content=text) for text in texts.values()]
        done = await self._ask(llm, run, self.system, query, given)
        return done.text.strip() or next(iter(texts))
