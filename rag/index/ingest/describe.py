"""Chunks described by a language model at ingest: by the questions they answer, or in short.

Questions: document expansion, doc2query (Nogueira et al. 2019, arXiv 1904.08375). What was
written stands in a chunk's metadata (`questions`, `summary`) and is embedded and indexed with its
text or in its place (`rag.text.splitting.indexed_text`); what is read later is the text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

from rag.models import Prompt, Sampling
from rag.models.list_output import lines
from rag.prompts.templates import PromptTemplate, prompts

if TYPE_CHECKING:
    from rag.flow import RunContext
    from rag.index.spec import Describe
    from rag.models import LLM

MARGIN = 96
"""Tokens kept free for the chat template."""


def described(chunks: Sequence[Document], how: Describe, llm: LLM) -> list[Document]:
    """`describe`, for callers that do not wait."""
    return asyncio.run(describe(chunks, how, llm))


async def describe(
    chunks: Sequence[Document],
    how: Describe,
    llm: LLM,
    *,
    system: str | None = None,
    ctx: RunContext | None = None,
) -> list[Document]:
    """The chunks with what the model wrote of each; unchanged where it wrote nothing.

    Args:
        chunks: What is described, one call each.
        how: What is written.
        llm: The model.
        system: What it is told instead of the prompt `describe_...`; `{n}` stands for `how.n`.
        ctx: Counts the calls, and is warned of chunks that were cut or got nothing.

    Raises:
        ModelError: The model cannot be reached.
        BudgetError: The run has used more than it may.
    """
    template = prompts()[f"describe_{how.by}"] if system is None else PromptTemplate(system)
    told = template.format(n=how.n)
    sampling = Sampling(max_tokens=how.max_tokens)
    room = max(llm.window - how.max_tokens - llm.count(told) - MARGIN, 1)
    found = []
    cut = empty = 0
    for chunk in chunks:
        text = llm.clip(chunk.page_content, room)
        cut += len(text) < len(chunk.page_content)
        if ctx is not None:
            ctx.spend(llm_calls=1)
        done = await llm.generate(Prompt(told, chunks=(text,), numbered=False), sampling)
        if ctx is not None:
            ctx.spend(tokens=done.prompt_tokens + done.completion_tokens)
        written = _written(done.text, how)
        empty += not written
        found.append(chunk.model_copy(update={"metadata": {**chunk.metadata, **written}}))
    if ctx is not None and cut:
        ctx.warn(f"{cut} of {len(chunks)} documents are cut to the window of {llm.window} tokens")
    if ctx is not None and empty:
        ctx.warn(f"the model wrote nothing of {empty} of {len(chunks)} documents")
    return found


def _written(text: str, how: Describe) -> dict[str, Any]:
    """The metadata that an answer makes; none if it says nothing."""
    found = lines(text, how.n if how.by == "questions" else how.max_tokens)
    if not found:
        return {}
    told: dict[str, Any] = {how.by: found if how.by == "questions" else " ".join(found)}
    return told if how.text else {**told, "found_by": how.by}
