"""Judges: what a flow's routes and loops are decided by (arXiv 2407.21059, section IV-F-2)."""

from __future__ import annotations

import math
from typing import Literal

from langchain_core.documents import Document
from pydantic import Field, NonNegativeFloat, PositiveInt
from rag.operators.asking import Asking, about, prompts, told
from rag.operators.generation.cite import support

from rag.flow import Context, Operator
from rag.llm import LLM, Generation

Grade = Literal["correct", "ambiguous", "incorrect"]


class RuleJudge(Operator):
    """Whether enough good documents were found. Asks no model.

    Modular RAG's rule judge (arXiv 2407.21059, section IV-F-2), for routes and loops whose
    condition is too long for an expression.
    Reads `query` and `documents`; writes `sufficient`.
    Example: `{use: rule_judge, least: 2, words: 0.3}`
    """

    writes = "sufficient"

    least: PositiveInt = Field(default=1, description="documents that must pass")
    score: float | None = Field(default=None, description="score that a document needs")
    words: NonNegativeFloat = Field(
        default=0.0, le=1, description="share of the query's words that a document needs"
    )

    def run(self, query: str, documents: list[Document]) -> bool:
        """Count those that pass."""
        good = [
            document
            for document in documents
            if (self.score is None or document.metadata.get("score", 0.0) >= self.score)
            and (not self.words or support(query, document.page_content) >= self.words)
        ]
        return len(good) >= self.least


class ConfidenceJudge(Operator):
    """Whether the model was sure of its answer: the mean probability of its tokens.

    Behind `generate` with `logprobs: true`: the generated tokens' confidence as in Modular RAG's
    rule judge (arXiv 2407.21059, section IV-F-2). Where the model tells none, the confidence is 0.
    Asks no model.
    Reads `generation`; writes `sufficient` and `confidence`, 0 to 1 (geometric mean).
    Example: `{use: confidence_judge, threshold: 0.6}`
    """

    writes = ("sufficient", "confidence")

    threshold: float = Field(default=0.6, ge=0, le=1, description="confidence that is enough")

    def run(self, generation: Generation, *, run: Context) -> tuple[bool, float]:
        """Average."""
        if not generation.logprobs:
            run.warn("how likely the answer's tokens were is not told: the confidence is 0")
            return False, 0.0
        values = [logprob for _, logprob in generation.logprobs]
        confidence = math.exp(sum(values) / len(values))
        return confidence >= self.threshold, confidence


class LLMJudge(Asking):
    """Asks the model: are the documents relevant, is the answer supported, is it useful?

    Self-RAG's three questions (Asai et al. 2023, arXiv 2310.11511, table 1) put to any model in
    the place of reflection tokens. No documents are not relevant and support nothing; an empty
    answer is neither supported nor useful. For loops that end when the answer is good. LLM
    calls: 1.
    Reads `query`, `documents` and, where there is one, `answer`; writes `verdict` and
    `probability` of Yes.
    Example: `{use: llm_judge, aspect: supported}`
    """

    use = "llm_judge"
    writes = ("verdict", "probability")

    aspect: Literal["relevant", "supported", "useful"] = Field(description="what is judged")
    threshold: float = Field(default=0.5, ge=0, le=1, description="probability of Yes needed")
    system: str | None = Field(default=None, description="what the model is told; by the aspect")

    async def run(
        self, query: str, documents: list[Document], answer: str = "", *, llm: LLM, run: Context
    ) -> tuple[bool, float]:
        """Ask."""
        aspect = self.aspect
        if (aspect != "useful" and not documents) or (aspect != "relevant" and not answer.strip()):
            return False, 0.0
        asked = query if aspect == "relevant" else about(query, answer)
        system = self.system or prompts()[aspect].text
        found = await self._yes(llm, run, system, asked, () if aspect == "useful" else documents)
        return found >= self.threshold, found


class GradeDocuments(Asking):
    """Keeps the relevant documents and grades what was found (CRAG, arXiv 2401.15884).

    Yan et al. 2024, section 4.3: correct where one document is surely relevant, incorrect where
    all are surely not, ambiguous between. The model's Yes stands in for the fine-tuned evaluator.
    For searches that often miss. LLM calls: documents.
    Reads `query` and `documents`; writes `documents`, those above `lower`, and `grade`.
    Example: `{use: grade_documents, upper: 0.6, lower: 0.3}`
    """

    writes = ("documents", "grade")

    upper: float = Field(default=0.6, ge=0, le=1, description="surely relevant from here")
    lower: float = Field(default=0.3, ge=0, le=1, description="surely irrelevant below")
    system: str = told("relevant")

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, run: Context
    ) -> tuple[list[Document], Grade]:
        """Ask for each."""
        values = [await self._yes(llm, run, self.system, query, [one]) for one in documents]
        kept = [d for d, value in zip(documents, values, strict=True) if value >= self.lower]
        best = max(values, default=0.0)
        if best >= self.upper:
            return kept, "correct"
        return kept, "ambiguous" if best >= self.lower else "incorrect"


class KnowledgeJudge(Asking):
    """Whether the model knows the answer without looking it up.

    It answers from memory; the mean probability of the tokens says how sure it is (Jiang et al.
    2023, arXiv 2305.06983, section 3.2.1). A model that tells no likelihoods is asked whether it
    knows. Schedules by the model's own knowledge (arXiv 2407.21059, section IV-F-2): for flows
    that search only when they must. LLM calls: 1, or 2 without likelihoods.
    Reads `query`; writes `known`, and the answer from memory as `answer`.
    Example: `{use: knowledge_judge, threshold: 0.8}`
    """

    writes = ("known", "answer")

    threshold: float = Field(default=0.8, ge=0, le=1, description="probability that is enough")
    system: str = told("knowledge_judge")
    question: str = told("knows")

    async def run(self, query: str, *, llm: LLM, run: Context) -> tuple[bool, str]:
        """Answer from memory."""
        if not query.strip():
            return False, ""
        done = await self._ask(llm, run, self.system, query, logprobs=llm.scores)
        answer = done.text.strip()
        if not answer:
            return False, ""
        if done.logprobs:
            sure = math.exp(sum(value for _, value in done.logprobs) / len(done.logprobs))
        else:
            sure = await self._yes(llm, run, self.question, query)
        return sure >= self.threshold, answer
