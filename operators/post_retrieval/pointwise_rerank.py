"""Pointwise reranking by a language model."""

from __future__ import annotations

from typing import Literal

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.documents import unique
from rag.operators.judging import log_likelihood, yes
from rag.operators.model_call import ModelCall
from rag.operators.prompting import prompt_field
from rag.operators.scores import ranked


class PointwiseRerank(Operator):
    """Reranks documents by a language model that scores each of them alone.

    By `question`: the mean log-probability of the question's tokens given the document, at most 0
    (UPR, Sachan et al. 2022, arXiv 2204.07496, section 2.2); needs a model that gives
    log-probabilities. By `answer`: the probability of Yes when asked whether the document answers
    the question; any model. For few candidates: both cost far more than `rerank`. Small models
    rank better by `question`. LLM calls: documents, up to `depth`.
    Reads `query` and `documents`; writes `documents`, best first.
    Example: `{use: pointwise_rerank, k: 5, depth: 10}`
    """

    writes = "documents"
    span_kind = "RERANKER"

    k: PositiveInt = Field(default=5, description="number of documents to keep")
    depth: PositiveInt = Field(default=10, description="number of documents to rerank")
    by: Literal["question", "answer"] = Field(default="question", description="how to score")
    system: str = prompt_field("question_of")
    judge_system: str = prompt_field("relevant")

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> list[Document]:
        """The first `k`; documents beyond `depth` follow in their original order.

        Raises:
            ModelError: The model gives no log-probabilities, which `question` needs.
        """
        found = list(unique(documents).values())
        candidates, rest = found[: self.depth], found[self.depth :]
        if not candidates or not query.strip():
            return found[: self.k]
        call = ModelCall(llm, ctx)
        scores = [await self._score(call, query, document) for document in candidates]
        return [*ranked(candidates, scores, self.use), *rest][: self.k]

    async def _score(self, call: ModelCall, query: str, document: Document) -> float:
        if self.by == "answer":
            return await yes(call, self.judge_system, query, [document])
        return (await log_likelihood(call, query, [document], self.system)).mean
