"""Structured output: the answer as an object."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import BaseModel, Field, PositiveInt

from rag.flow import RunContext
from rag.models import LLM, Sampling
from rag.operators.answering import NOTHING_FOUND, AnswerOperator
from rag.operators.history import History
from rag.operators.model_call import ModelCall
from rag.operators.prompting import fit_prompt, limit, limit_field, prompt_field
from rag.prompts.templates import prompts

PLACEHOLDER = prompts()["structured_answer_text"].text
"""The description of the field in the prompt; a small model may return it as it is."""


class Reply(BaseModel):
    """An answer as an object."""

    answer: str = Field(max_length=4000, description=PLACEHOLDER)
    sources: list[int] = Field(
        default_factory=list, max_length=8, description=prompts()["structured_answer_sources"].text
    )


class StructuredAnswer(AnswerOperator):
    """Answers as an object: the text, and the numbers of the sources that were used.

    For programs that process the answer. A local model is constrained to tokens of such an object
    (guided generation, Willard and Louf 2023, arXiv 2307.09702, section 3). Numbers of sources
    that do not exist are removed. If the model returns no such object, or the description of the
    field, the answer is empty, with a warning. LLM calls: 1, or up to 2 for a model that is not
    local.
    Reads `query`, `documents` and, if present, `history` (as `generate` does); writes `answer`
    and `reply`.
    Example: `{use: structured_answer}`
    """

    writes = ("answer", "reply")

    max_tokens: PositiveInt | None = limit_field(192)
    system: str | None = prompt_field("structured_answer")

    async def run(
        self,
        query: str,
        documents: list[Document],
        history: History | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> tuple[str, Reply]:
        """The answer's text, and the object."""
        if not documents:
            return NOTHING_FOUND, Reply(answer=NOTHING_FOUND)
        call = ModelCall(llm, ctx)
        system = self.system or call.texts["structured_answer"].text
        tokens = limit(call, self.max_tokens, 192)
        prompt = fit_prompt(call, system, query, documents, tokens, history=history)
        sampling = Sampling(max_tokens=tokens, **self.sampling)
        found = await call.structured(prompt, Reply, sampling)
        if found is None or found.answer.strip() == PLACEHOLDER:
            what = "no object" if found is None else "the description of the field as its value"
            ctx.warn(f"the model returned {what}")
            return "", Reply(answer="")
        there = [n for n in dict.fromkeys(found.sources) if 1 <= n <= len(prompt.chunks)]
        return found.answer.strip(), found.model_copy(update={"sources": there})
