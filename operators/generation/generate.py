"""Generation: the answer to the question, from the documents."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import RunContext
from rag.kvcache.settings import ReuseSettings
from rag.models import LLM, Generation, Sampling
from rag.operators.answering import NOTHING_FOUND, AnswerOperator, nothing_found
from rag.operators.history import History
from rag.operators.model_call import ModelCall
from rag.operators.prompting import fit_prompt, limit, limit_field, prompt_field


class Generate(AnswerOperator):
    """Generates the answer from the documents, which the prompt numbers from 1.

    Tokens are streamed. If none were found, the answer says so, and no model is called. In a flow
    that has not searched, the model answers from its own knowledge (SKR, Wang et al. 2023, arXiv
    2310.05002, section 3.4). Documents that do not fit the model's window are left out, with a
    warning.
    With `reuse` the local engine reuses what it computed for a document before; the documents
    are not numbered then, so that their order does not matter (Cache-Craft, arXiv 2502.15734;
    APE, arXiv 2502.05431). The last step of nearly every flow (Lewis et al. 2020, arXiv
    2005.11401, section 2). LLM calls: 1.
    With `reason` a strong model reasons step by step before it answers, in full sentences that the
    next search can use (chain of thought, Wei et al. 2022, arXiv 2201.11903, section 2).
    Reads `query` and, if present, `documents` and `history`: earlier turns as OpenAI's messages,
    `{role: user, content: ...}` and `{role: assistant, content: ...}`, of which the latest that
    fit are shown to the model; writes `answer`, and as `generation` its tokens and how it ended.
    Example: `{use: generate, max_tokens: 64}`
    """

    writes = ("answer", "generation")

    system: str | None = prompt_field("generate")
    max_tokens: PositiveInt | None = limit_field(128)
    reason: bool = Field(
        default=False, description="whether a strong model reasons step by step in its answer"
    )
    stop: tuple[str, ...] = Field(default=(), description="strings that end the answer")
    logprobs: bool = Field(
        default=False, description="return token log-probabilities, for `confidence_judge`"
    )
    reuse: ReuseSettings | None = Field(
        default=None, description="how cached states of documents are reused; default: not at all"
    )

    async def run(
        self,
        query: str,
        documents: list[Document] | None = None,
        history: History | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> tuple[str, Generation]:
        """The answer, and how it was generated."""
        if documents is not None and not documents:
            ctx.token(NOTHING_FOUND)
            return NOTHING_FOUND, nothing_found()
        call = ModelCall(llm, ctx)
        numbered = self.reuse is None
        tokens = limit(call, self.max_tokens, 128)
        name = "generate_reasoning" if self.reason else "generate"
        if documents is None:
            name = "generate_alone"
        system = self.system or call.texts[name].text
        prompt = fit_prompt(
            call, system, query, documents or (), tokens, history=history,
            numbered=numbered, continues=history is not None,
        )  # fmt: skip
        sampling = Sampling(
            max_tokens=tokens, stop=self.stop, logprobs=self.logprobs, **self.sampling
        )
        done = await call.stream(prompt, sampling, self.reuse)
        if not done.text.strip():
            ctx.warn("the model wrote no answer")
        return done.text.strip(), done
