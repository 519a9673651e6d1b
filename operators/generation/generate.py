"""Generation: the answer to the question, from the documents."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, NonNegativeFloat, PositiveInt
from rag.operators.post_retrieval.pack import pack

from rag.flow import Context, Operator
from rag.index.splitting import embedding_text
from rag.kvcache.settings import ContextSettings
from rag.llm import LLM, Generation, Prompt, Sampling

SYSTEM = "Answer the question from the sources, in one short sentence."
NOTHING_FOUND = "The sources do not say: nothing was found for this question."
MARGIN = 64
"""Tokens kept free for the chat template and the sources' numbers."""


class Generate(Operator):
    """Answers the query from the documents, which the prompt numbers from 1.

    Tokens are passed on as they come. Without documents it says so and asks no model. Documents
    that do not fit the model's window are left out, with a warning.
    With `context` the local engine reuses what it computed for a document before: the documents
    are not numbered then, so that their order does not matter (Cache-Craft, APE).
    Reads `query` and `documents`; writes `answer`, and as `generation` how it came about.
    """

    writes = ("answer", "generation")
    span_kind = "LLM"

    system: str = Field(default=SYSTEM, description="what the model is told to do")
    max_tokens: PositiveInt = Field(default=128, description="the answer's length at most")
    temperature: NonNegativeFloat = Field(default=0.0, description="0: the likeliest token")
    seed: int | None = Field(default=None, description="makes sampling repeatable")
    stop: tuple[str, ...] = Field(default=(), description="texts that end the answer")

    context: ContextSettings | None = Field(
        default=None, description="how the documents' states are composed; none: not reused"
    )

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, run: Context
    ) -> tuple[str, Generation]:
        """Write the answer."""
        if not documents:
            run.token(NOTHING_FOUND)
            return NOTHING_FOUND, Generation(NOTHING_FOUND, 0, 0, "stop")
        prompt = Prompt(
            question=query,
            system=self.system,
            chunks=self._chunks(query, documents, llm, run),
            numbered=self.context is None,
        )
        sampling = Sampling(
            max_tokens=self.max_tokens, temperature=self.temperature, seed=self.seed, stop=self.stop
        )
        done = Generation("", 0, 0, "stop")
        run.spend(llm_calls=1)
        async for piece in llm.stream(prompt, sampling, self.context):
            if isinstance(piece, Generation):
                done = piece
                run.spend(tokens=piece.prompt_tokens + piece.completion_tokens)
            else:
                run.token(piece)
        return done.text.strip(), done

    def _chunks(
        self, query: str, documents: list[Document], llm: LLM, run: Context
    ) -> tuple[str, ...]:
        overhead = llm.count(self.system) + llm.count(query) + self.max_tokens + MARGIN
        room = llm.window - overhead - 8 * len(documents)
        texts = [d.model_copy(update={"page_content": embedding_text(d)}) for d in documents]
        kept = pack(texts, max(room, 1), llm.count, llm.clip)
        if len(kept) < len(documents):
            run.warn(
                f"{len(documents) - len(kept)} of {len(documents)} documents do not fit the "
                f"model's window of {llm.window} tokens"
            )
        return tuple(document.page_content for document in kept)
