"""Chunks described by a language model at ingest: by the questions they answer, or in short.

Questions: document expansion, doc2query (Nogueira et al. 2019, arXiv 1904.08375). What was
written stands in a chunk's metadata (`questions`, `summary`) and is embedded and indexed with its
text or in its place (`rag.index.splitting.indexed_text`); what is read later is the text.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_core.documents import Document

from rag.llm import Prompt, Sampling

if TYPE_CHECKING:
    from rag.index.spec import Describe
    from rag.llm import LLM

PROMPTS = {
    "questions": "Write {n} short questions that the source answers, one a line. Nothing else.",
    "summary": "Say in one sentence what the source is about. Nothing else.",
}
MARGIN = 96
"""Tokens kept free for the chat template and the prompt."""
_NUMBER = re.compile(r"^\s*(?:[-*\u2022]|\(?\d{1,2}[.):])\s*")


def described(chunks: Sequence[Document], how: Describe, llm: LLM) -> list[Document]:
    """The chunks with what the model wrote of each; unchanged where it wrote nothing.

    Raises:
        ModelError: The model cannot be reached.
    """
    return asyncio.run(_all(chunks, how, llm))


async def _all(chunks: Sequence[Document], how: Describe, llm: LLM) -> list[Document]:
    system = PROMPTS[how.by].format(n=how.n)
    sampling = Sampling(max_tokens=how.max_tokens)
    found = []
    for chunk in chunks:
        text = llm.clip(chunk.page_content, max(llm.window - how.max_tokens - MARGIN, 1))
        done = await llm.generate(Prompt(system, chunks=(text,), numbered=False), sampling)
        written = [_NUMBER.sub("", line).strip() for line in done.text.splitlines()]
        lines = list(dict.fromkeys(line for line in written if re.search(r"\w", line)))
        if not lines:
            found.append(chunk)
            continue
        told = {how.by: lines[: how.n] if how.by == "questions" else " ".join(lines)}
        alone = {} if how.text else {"found_by": how.by}
        found.append(chunk.model_copy(update={"metadata": {**chunk.metadata, **told, **alone}}))
    return found
