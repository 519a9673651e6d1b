"""Chunks described by a language model at ingest: by the questions they answer, or a summary.

Questions: document expansion, doc2query (Nogueira et al. 2019, arXiv 1904.08375). What the model
writes goes into a chunk's metadata (`questions`, `summary`) and is embedded and indexed with its
text or in its place (`rag.text.chunk.Chunk.indexed_text`); what is read later is the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rag.models import Prompt, Sampling
from rag.models.list_output import lines
from rag.models.together import together
from rag.prompts.templates import PromptTemplate
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    from rag.flow import RunContext
    from rag.index.spec import DescribeSpec
    from rag.models import LLM

MARGIN = 96
"""Tokens kept free for the chat template."""


async def describe(
    chunks: Sequence[Chunk],
    how: DescribeSpec,
    llm: LLM,
    *,
    system: str | None = None,
    ctx: RunContext | None = None,
) -> list[Chunk]:
    """The chunks with what the model wrote of each; unchanged where it wrote nothing.

    Args:
        chunks: What is described, one call each, as many at once as the model takes.
        how: What is written.
        llm: The model.
        system: Replaces the prompt `describe_...`; `{n}` stands for `how.n`.
        ctx: Counts the calls, and gets a warning of chunks that were cut or got nothing.

    Raises:
        ModelError: The model cannot be reached.
        BudgetError: The run exceeded its budget.
    """
    template = llm.prompt_set[f"describe_{how.by}"] if system is None else PromptTemplate(system)
    instruction = template.format(n=how.n)
    sampling = Sampling(max_tokens=how.max_tokens)
    room = max(llm.window - how.max_tokens - llm.count(instruction) - MARGIN, 1)
    cut = empty = 0

    async def written(chunk: Chunk) -> Chunk:
        nonlocal cut, empty
        text = llm.clip(chunk.text, room)
        cut += len(text) < len(chunk.text)
        if ctx is not None:
            ctx.spend(llm_calls=1)
        done = await llm.generate(Prompt(instruction, chunks=(text,), numbered=False), sampling)
        if ctx is not None:
            ctx.spend(tokens=done.prompt_tokens + done.completion_tokens)
        metadata = _written(done.text, how)
        empty += not metadata
        return chunk.updated(**metadata)

    found = await together(written, chunks, llm.profile.concurrency)
    if ctx is not None and cut:
        ctx.warn(f"{cut} of {len(chunks)} documents are cut to the window of {llm.window} tokens")
    if ctx is not None and empty:
        ctx.warn(f"the model wrote nothing of {empty} of {len(chunks)} documents")
    return found


def _written(text: str, how: DescribeSpec) -> dict[str, Any]:
    """The metadata that an answer makes; none if it says nothing."""
    found = lines(text, how.n if how.by == "questions" else how.max_tokens)
    if not found:
        return {}
    written: dict[str, Any] = {how.by: found if how.by == "questions" else " ".join(found)}
    return written if how.text else {**written, "found_by": how.by}
