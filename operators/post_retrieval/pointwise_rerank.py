"""Pointwise reranking by a language model."""

from __future__ import annotations

from typing import Literal

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.documents import unique
from rag.operators.judging import judged, log_likelihood
from rag.operators.model_call import ModelCall
from rag.operators.prompting import prompt_field
from rag.operators.scores import ranked

_By = Literal["question", "answer", "grade"]


class PointwiseRerank(Operator):
    """Reranks documents by a language model that scores each of them alone.

    By `question`: the mean log-probability of the question's tokens given the document, at most 0
    (UPR, Sachan et al. 2022, arXiv 2204.07496, section 2.2); needs a model that scores texts.
    By `answer`: the probability of Yes when asked whether the document answers the question; by
    `grade`: how well it does, 0 to 4, as 0 to 1; any model. For few candidates: both cost far
    more than `rerank`. Small models rank better by `question`. LLM calls: documents, up to
    `depth`.
    Reads `query` and `documents`; writes `documents`, best first.
    Example: `{use: pointwise_rerank, k: 5, depth: 10}`
    """

    writes = "documents"
    span_kind = "RERANKER"

    k: PositiveInt = Field(default=5, description="number of documents to keep")
    depth: PositiveInt = Field(default=10, description="number of documents to rerank")
    by: _By | None = Field(
        default=None,
        description="how to score; default: question if the model scores texts, else grade",
    )
    system: str | None = prompt_field("question_of")
    judge_system: str | None = Field(
        default=None, description="prompt for answer and grade; default: by the prompt set"
    )

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
        by = self.by or ("question" if call.scores else "grade")
        scores = await call.together(
            lambda document: self._score(call, by, query, document), candidates
        )
        return [*ranked(candidates, scores, self.use), *rest][: self.k]

    async def _score(self, call: ModelCall, by: _By, query: str, document: Document) -> float:
        if by == "question":
            system = self.system or call.texts["question_of"].text
            return (await log_likelihood(call, query, [document], system)).mean
        name = "relevant" if by == "answer" else "grade_relevant"
        return await judged(call, by, self.judge_system or call.texts[name].text, query, [document])
