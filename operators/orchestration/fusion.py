"""Fusion: one ranking of many."""

from __future__ import annotations

from collections import defaultdict
from typing import ClassVar

from langchain_core.documents import Document
from pydantic import Field, NonNegativeFloat, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.asking import Asking, Weighing, about, told
from rag.operators.documents import identity, score_of, scored, unique
from rag.operators.generation.cite import support
from rag.prompts.templates import prompts
from rag.text.sentences import COMMON, STOPS


class RRF(Operator):
    """Reciprocal rank fusion (Cormack, Clarke and Buettcher 2009): the sum of 1 / (c + rank).

    For rankings whose scores cannot be compared, such as words' and meaning's. Asks no model.
    A join: reads `documents` of every branch; writes `documents`, best first, each once.
    Example: `{use: rrf, k: 50}`
    """

    use: ClassVar[str] = "rrf"
    writes = "documents"
    light = True

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
    light = True

    weights: dict[str, NonNegativeFloat] = Field(
        default_factory=dict, description="branch: weight; 1 where none is given"
    )
    k: PositiveInt | None = Field(default=None, description="how many to keep; all if not given")

    def run(self, documents: dict[str, list[Document]], *, ctx: RunContext) -> list[Document]:
        """Fuse; ties keep the order in which documents were first seen."""
        if unknown := sorted(self.weights.keys() - documents.keys()):
            there = ", ".join(documents)
            ctx.warn(f"weights of {', '.join(unknown)}, which is no branch; there are: {there}")
        totals: dict[str, float] = defaultdict(float)
        for branch, ranking in documents.items():
            each = unique(ranking)
            values = [score_of(one) or 0.0 for one in each.values()]
            low, reach = (
                min(values, default=0.0),
                max(values, default=0.0) - min(values, default=0.0),
            )
            for key, value in zip(each, values, strict=True):
                part = (value - low) / reach if reach else 1.0
                totals[key] += self.weights.get(branch, 1.0) * part
        found = unique(document for ranking in documents.values() for document in ranking)
        order = sorted(found, key=lambda key: -totals[key])
        return [scored(found[key], totals[key], self.use) for key in order[: self.k]]


class Vote(Operator):
    """The answer that most agree with (self-consistency, Wang et al. 2022, arXiv 2203.11171).

    Section 2 of the paper. For branches that answer the same question, sampled or by other ways.
    An equal answer (case and the punctuation around it aside) is a whole vote. Free texts are
    seldom equal: of another answer the share of words that the two have in common is a vote.
    A join: reads `answer` of every branch; writes `answer`. Asks no model; the first of equals.
    Example: `{use: vote}`
    """

    writes = "answer"
    light = True

    def run(self, answer: list[str]) -> str:
        """Count."""
        given = [one for one in answer if one.strip()]
        votes = []
        for at, one in enumerate(given):
            others = [_agreement(one, other) for other in (*given[:at], *given[at + 1 :])]
            equal = sum(_plain(one) == _plain(other) for other in given)
            votes.append((sum(others), equal))
        return given[max(range(len(given)), key=lambda at: votes[at])] if given else ""


def _agreement(one: str, other: str) -> float:
    """How far two answers say the same, 0 to 1."""
    if _plain(one) == _plain(other):
        return 1.0
    # "No" and "No, it may not" are made of words that otherwise say nothing.
    common = COMMON if support(one, one) and support(other, other) else ()
    return (support(one, other, common=common) + support(other, one, common=common)) / 2


def _plain(answer: str) -> str:
    """The answer without what does not make it another; a sign stays: -5 is not 5."""
    return " ".join(answer.casefold().split()).strip(" \"'*_`").rstrip(f" \"'*_`,;:{STOPS}")


class RankAnswers(Weighing):
    """Orders answers by how good the model finds them, the best first.

    Archon's ranker (arXiv 2409.15254, section 3.1), for answers too many to fuse. By
    `likelihood`: the share of its surprise that the answer takes from the question, and where
    there are documents, that these take from the answer. By `answer`: the probability of Yes to
    whether it is one. `docs/operators.md` has what that is worth with a small model. LLM
    calls: n for n answers; by likelihood n + 1, with documents 3n + 1.
    A join: reads `answer` of every branch, `query` and, where there are some, `documents`; writes
    `answers`, the first k, each once.
    Example: `{use: rank_answers, k: 2}`
    """

    writes = "answers"

    k: PositiveInt = Field(default=3, description="how many to keep")

    async def run(
        self,
        query: str,
        answer: list[str],
        documents: list[Document] | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> list[str]:
        """Judge each; the first of equals."""
        given = list(dict.fromkeys(one.strip() for one in answer if one.strip()))
        by, system = self._way(llm, "question_answered", "useful")
        if by == "answer":
            asked = [about(llm, ctx, query, one) for one in given]
            values = [await self._yes(llm, ctx, system, one) for one in asked]
        else:
            groups = [[Document(page_content=one)] for one in given]
            values = await self._explained(llm, ctx, query, groups, system)
            answered = prompts()["generate"].text
            for at, one in enumerate(given if documents else ()):
                read = [documents or ()]
                (found,) = await self._explained(llm, ctx, one, read, query, answered)
                values[at] += found
        scores = dict(zip(given, values, strict=True))
        return sorted(given, key=lambda one: -scores[one])[: self.k]


class LLMFusion(Asking):
    """One answer of many, written by the model (LLM-Blender, Jiang et al. 2023, arXiv 2306.02561).

    The paper's generative fusion, and Modular RAG's LLM fusion (arXiv 2407.21059, section
    IV-F-3). For branches that each know a part; with `pair` each answer is shown with its question.
    LLM calls: 1.
    A join: reads `answer` of every branch, `query` and, where there are some, `queries` (with
    `pair`) and `critiques`, one for each answer; writes `answer`. Where all say the same it stays;
    where the model writes nothing the first one is taken.
    Example: `{use: llm_fusion}`
    """

    use: ClassVar[str] = "llm_fusion"
    writes = "answer"

    max_tokens: PositiveInt = Field(default=128, description="the answer at most")
    pair: bool = Field(default=False, description="whether each answer is to one of `queries`")
    system: str = told("llm_fusion")
    parts: str = told("llm_fusion_parts")

    async def run(
        self,
        query: str,
        answer: list[str],
        queries: list[str] | None = None,
        critiques: list[str] | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> str:
        """Ask for it."""
        asked = queries if self.pair and queries and len(queries) == len(answer) else None
        notes = critiques if critiques and len(critiques) == len(answer) else [""] * len(answer)
        shown: dict[str, str] = {}
        for at, one in enumerate(answer):
            if one.strip():
                text = one.strip()
                if asked:
                    text = prompts()["llm_fusion_pair"].format(question=asked[at], answer=text)
                critique = prompts()["llm_fusion_critique"]
                shown.setdefault(
                    text, critique.format(answer=text, critique=notes[at]) if notes[at] else text
                )
        said = [one.strip() for one in answer if one.strip()]
        if len(set(said)) < 2:
            return next(iter(said), "")
        given = [Document(page_content=text) for text in shown.values()]
        done = await self._ask(llm, ctx, self.parts if asked else self.system, query, given)
        return done.text.strip() or said[0]
