"""Context packing: the best documents within a token budget."""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.documents import unique


class Pack(Operator):
    """Keeps the best documents that fit a token budget together, each once, in the same order.

    A document that does not fit is skipped for the next one; only if not even the first one
    fits, it is cut at its end. What is left out is reported as a warning. For generators with
    small windows, and to bound the cost of an answer. Counts tokens; generates nothing.
    Reads `documents`; writes `documents`.
    Example: `{use: pack, tokens: 1000}`
    """

    writes = "documents"
    light = True

    tokens: PositiveInt = Field(default=1500, description="the budget, in tokens of the model")

    def run(self, documents: list[Document], *, llm: LLM, ctx: RunContext) -> list[Document]:
        """The documents that fit."""
        kept = pack(list(unique(documents).values()), self.tokens, llm.count, llm.clip)
        if len(kept) < len(documents):
            ctx.warn(f"{len(documents) - len(kept)} of {len(documents)} documents left out")
        return kept


def pack(
    documents: list[Document],
    budget: int,
    count: Callable[[str], int],
    clip: Callable[[str, int], str],
) -> list[Document]:
    """The documents that fit.

    Args:
        documents: Best first.
        budget: Tokens in total.
        count: Tokens of a text.
        clip: The longest beginning of a text of at most so many tokens.
    """
    kept, left = [], budget
    for document in documents:
        size = count(document.page_content)
        if size <= left:
            kept.append(document)
            left -= size
    if documents and not kept:
        first = documents[0]
        kept = [first.model_copy(update={"page_content": clip(first.page_content, budget)})]
    return kept
