"""Listwise reranking by a language model."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt, model_validator

from rag.flow import Operator, RunContext
from rag.models import LLM, Prompt, Sampling
from rag.operators.documents import unique
from rag.operators.judging import SCORED
from rag.operators.model_call import ModelCall
from rag.operators.prompting import DELIMITER, MARGIN, clipped, limit, limit_field, prompt_field
from rag.operators.rankings import permutation
from rag.operators.scores import scored
from rag.text.chunk import Chunk


class ListwiseRerank(Operator):
    """Reranks documents by a language model that orders several at a time.

    RankGPT (Sun et al. 2023, arXiv 2304.09542, section 3): a window slides from the end of the
    ranking to its front and carries the best documents along. With a model that gives
    log-probabilities nothing is generated: the window is ordered by the log-probability of each
    document's number as the first word (FIRST, Reddy et al. 2024, arXiv 2406.15657, section 3.2).
    Otherwise the generated order is parsed leniently: documents that it does not name keep their
    order after those that it does. For models of several billion parameters; smaller ones order
    at random. LLM calls: about depth / step.
    Reads `query` and `documents`; writes `documents`, best first.
    Example: `{use: listwise_rerank, k: 5, depth: 20, window: 10, step: 5}`
    """

    writes = "documents"
    span_kind = "RERANKER"

    k: PositiveInt = Field(default=5, description="number of documents to keep")
    depth: PositiveInt = Field(default=20, description="number of documents to rerank")
    window: int = Field(default=10, ge=2, description="documents in a prompt")
    step: PositiveInt = Field(default=5, description="documents that the window moves by")
    passage_tokens: PositiveInt = Field(default=200, description="tokens shown of each document")
    max_tokens: PositiveInt | None = limit_field(128)
    system: str | None = prompt_field("rank")

    @model_validator(mode="after")
    def _overlaps(self) -> ListwiseRerank:
        if self.step >= self.window:
            raise ValueError("step must be less than window, or nothing can move to the front")
        return self

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> list[Document]:
        """The first `k`; documents beyond `depth` follow in their original order."""
        found = list(unique(documents).values())
        ranking, rest = found[: self.depth], found[self.depth :]
        if len(ranking) < 2 or not query.strip():
            return found[: self.k]
        call = ModelCall(llm, ctx)
        end = len(ranking)
        while True:
            start = max(end - self.window, 0)
            order = await self._order(call, query, ranking[start:end])
            ranking[start:end] = [ranking[start + at] for at in order]
            if start == 0:
                break
            end -= self.step
        reranked = [scored(one, 1 / rank, self.use) for rank, one in enumerate(ranking, start=1)]
        return [*reranked, *rest][: self.k]

    async def _order(self, call: ModelCall, query: str, documents: list[Document]) -> list[int]:
        """Positions of the documents, best first."""
        llm = call.llm
        system = self.system or call.texts["rank"].text
        tokens = limit(call, self.max_tokens, 128)
        question = f"{clipped(call, query, SCORED, 'question')}\n{system}"
        free = llm.window - llm.count(question) - tokens - llm.profile.reasoning - MARGIN
        room = min(self.passage_tokens, max(free // len(documents) - DELIMITER, 1))
        texts = [Chunk.of(document).embedding_text for document in documents]
        chunks = tuple(llm.clip(text, room) for text in texts)
        if cut := sum(len(a) < len(b) for a, b in zip(chunks, texts, strict=True)):
            call.ctx.warn(f"{cut} of {len(documents)} documents are cut to {room} tokens")
        prompt = Prompt(question=question, chunks=chunks)
        if call.scores:
            # With the sign after it, since 1 is also how 10 begins.
            firsts = await call.score(prompt, [f"{n + 1} >" for n in range(len(documents))])
            return sorted(range(len(documents)), key=lambda at: -firsts[at].total)
        done = await call.generate(prompt, Sampling(max_tokens=tokens))
        return permutation(done.text, len(documents))
