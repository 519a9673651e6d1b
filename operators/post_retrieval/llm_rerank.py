"""Reranking by a language model: document by document, or as a list."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from langchain_core.documents import Document
from pydantic import Field, PositiveInt, model_validator

from rag.flow import RunContext
from rag.models import LLM, Prompt, Sampling
from rag.operators.asking import DELIMITER, MARGIN, SCORED, Asking, Judging, clipped, told
from rag.operators.documents import scored, unique
from rag.text.splitting import embedding_text


class PointwiseRerank(Judging):
    """Orders documents by what a model says of each of them alone.

    By `question`: how likely it finds the question behind the document (mean log probability of
    its tokens, at most 0; Sachan et al. 2022, UPR, arXiv 2204.07496, section 2.2), which needs
    a model that tells likelihoods. By `answer`: the probability that it says Yes when asked
    whether the document answers the question; any model. LLM calls: documents, up to `depth`.
    For small models `question` ranks better; both cost far more than `rerank`.
    Reads `query` and `documents`; writes `documents`, best first.
    Example: `{use: pointwise_rerank, k: 5, depth: 10}`
    """

    use: ClassVar[str] = "pointwise_rerank"
    writes = "documents"
    span_kind = "RERANKER"

    k: PositiveInt = Field(default=5, description="how many to keep")
    depth: PositiveInt = Field(default=10, description="how many of the documents to look at")
    by: Literal["question", "answer"] = Field(default="question", description="what is scored")
    system: str = told("question_of")
    question: str = told("relevant")

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> list[Document]:
        """Order and cut; documents beyond `depth` follow in the order they came.

        Raises:
            ModelError: The model tells no likelihoods, which `question` needs.
        """
        found = list(unique(documents).values())
        candidates, rest = found[: self.depth], found[self.depth :]
        if not candidates or not query.strip():
            return found[: self.k]
        scores = [await self._score(query, document, llm, ctx) for document in candidates]
        order = sorted(range(len(candidates)), key=lambda at: -scores[at])
        ranked = [scored(candidates[at], scores[at], self.use) for at in order]
        return [*ranked, *rest][: self.k]

    async def _score(self, query: str, document: Document, llm: LLM, ctx: RunContext) -> float:
        if self.by == "answer":
            return await self._yes(llm, ctx, self.question, query, [document])
        return (await self._likelihood(llm, ctx, query, [document], self.system)).mean


class ListwiseRerank(Asking):
    """Lets a model order the documents, some at a time, from the last to the first.

    RankGPT (Sun et al. 2023, arXiv 2304.09542, section 3): a window slides over the ranking from
    its end, so that the best documents travel to the front. A model that tells likelihoods is not
    asked to write: the numbers' likelihoods as its first word order the window (FIRST, Reddy et
    al. 2024, arXiv 2406.15657, section 3.2). Otherwise the written order is read tolerantly:
    what is not named stays behind in its order. LLM calls: about depth / step.
    For models of several billion parameters; smaller ones order by chance.
    Reads `query` and `documents`; writes `documents`, best first.
    Example: `{use: listwise_rerank, k: 5, depth: 20, window: 10, step: 5}`
    """

    use: ClassVar[str] = "listwise_rerank"
    writes = "documents"
    span_kind = "RERANKER"

    k: PositiveInt = Field(default=5, description="how many to keep")
    depth: PositiveInt = Field(default=20, description="how many of the documents to look at")
    window: int = Field(default=10, ge=2, description="documents shown at a time")
    step: PositiveInt = Field(default=5, description="documents that the window moves on by")
    passage: PositiveInt = Field(default=200, description="tokens shown of each document")
    max_tokens: PositiveInt = Field(default=128, description="the model's answer at most")
    system: str = told("rank")

    @model_validator(mode="after")
    def _overlaps(self) -> ListwiseRerank:
        if self.step >= self.window:
            raise ValueError("step must be less than window, or nothing can travel to the front")
        return self

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> list[Document]:
        """Order and cut; documents beyond `depth` follow in the order they came."""
        found = list(unique(documents).values())
        ranking, rest = found[: self.depth], found[self.depth :]
        if len(ranking) < 2 or not query.strip():
            return found[: self.k]
        end = len(ranking)
        while True:
            start = max(end - self.window, 0)
            order = await self._order(query, ranking[start:end], llm, ctx)
            ranking[start:end] = [ranking[start + at] for at in order]
            if start == 0:
                break
            end -= self.step
        ranked = [scored(one, 1 / rank, self.use) for rank, one in enumerate(ranking, start=1)]
        return [*ranked, *rest][: self.k]

    async def _order(
        self, query: str, documents: list[Document], llm: LLM, ctx: RunContext
    ) -> list[int]:
        """Positions of the documents, best first."""
        asked = f"{clipped(llm, ctx, query, SCORED, 'question')}\n{self.system}"
        free = llm.window - llm.count(asked) - self.max_tokens - MARGIN
        room = min(self.passage, max(free // len(documents) - DELIMITER, 1))
        texts = [embedding_text(document) for document in documents]
        chunks = tuple(llm.clip(text, room) for text in texts)
        if cut := sum(len(a) < len(b) for a, b in zip(chunks, texts, strict=True)):
            ctx.warn(f"{cut} of {len(documents)} documents are shown to their first {room} tokens")
        prompt = Prompt(question=asked, chunks=chunks)
        ctx.spend(llm_calls=1)
        if llm.supports_logprobs:
            # With the sign behind it, since 1 is also how 10 begins.
            firsts = await llm.score(prompt, [f"{n + 1} >" for n in range(len(documents))])
            likely = [one.total for one in firsts]
            ctx.spend(tokens=firsts[0].prompt_tokens + sum(len(one.logprobs) for one in firsts))
            return sorted(range(len(documents)), key=lambda at: -likely[at])
        done = await llm.generate(prompt, Sampling(max_tokens=self.max_tokens))
        ctx.spend(tokens=done.prompt_tokens + done.completion_tokens)
        return permutation(done.text, len(documents))


def permutation(text: str, count: int) -> list[int]:
    """Positions from 0 in the order in which their numbers from 1 stand in a text.

    Numbers out of range and repeated ones are passed over; positions that are not named follow
    in their order.
    """
    named = [int(number) - 1 for number in re.findall(r"\d{1,4}", text)]
    return list(dict.fromkeys([*(at for at in named if 0 <= at < count), *range(count)]))
