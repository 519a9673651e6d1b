"""Generation: the answer to the question, from the documents."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, NonNegativeFloat, PositiveInt

from rag.flow import Operator, RunContext
from rag.kvcache.settings import ContextSettings
from rag.models import LLM, Generation, Sampling
from rag.operators.asking import fitting, told

NOTHING_FOUND = "The sources do not say: nothing was found for this question."


class Generate(Operator):
    """Answers the query from the documents, which the prompt numbers from 1.

    Tokens are passed on as they come. Without documents it says so and asks no model. Documents
    that do not fit the model's window are left out, with a warning.
    With `context` the local engine reuses what it computed for a document before: the documents
    are not numbered then, so that their order does not matter (Cache-Craft, arXiv 2502.15734;
    APE, arXiv 2502.05431). The last step of nearly every flow (Lewis et al. 2020, arXiv
    2005.11401, section 2). LLM calls: 1.
    Reads `query` and `documents`; writes `answer`, and as `generation` how it came about.
    Example: `{use: generate, max_tokens: 64}`
    """

    writes = ("answer", "generation")
    span_kind = "LLM"

    system: str = told("generate")
    max_tokens: PositiveInt = Field(default=128, description="the answer's length at most")
    temperature: NonNegativeFloat = Field(default=0.0, description="0: the likeliest token")
    seed: int | None = Field(default=None, description="makes sampling repeatable")
    stop: tuple[str, ...] = Field(default=(), description="texts that end the answer")

    logprobs: bool = Field(
        default=False, description="tell how likely each token was, for `confidence_judge`"
    )
    context: ContextSettings | None = Field(
        default=None, description="how the documents' states are composed; none: not reused"
    )

    async def run(
        self, query: str, documents: list[Document], *, llm: LLM, ctx: RunContext
    ) -> tuple[str, Generation]:
        """Write the answer."""
        if not documents:
            ctx.token(NOTHING_FOUND)
            return NOTHING_FOUND, Generation(NOTHING_FOUND, 0, 0, "stop")
        prompt = fitting(
            llm, ctx, self.system, query, documents, self.max_tokens, numbered=self.context is None
        )
        sampling = Sampling(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
            stop=self.stop,
            logprobs=self.logprobs,
        )
        done = Generation("", 0, 0, "stop")
        ctx.spend(llm_calls=1)
        async for piece in llm.stream(prompt, sampling, self.context):
            if isinstance(piece, Generation):
                done = piece
                ctx.spend(tokens=piece.prompt_tokens + piece.completion_tokens)
            else:
                ctx.token(piece)
        return done.text.strip(), done
