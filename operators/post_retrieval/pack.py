"""Context building: the best documents that fit a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.documents import unique


class Pack(Operator):
    """Keeps the best documents whose texts together fit a budget, each once, order kept.

    A document that does not fit is passed over for the next; only when not even the first one
    fits is it cut, at the end. What was left out is told in a warning event.
    For generators with small windows, and to bound what an answer costs.
    Reads `documents`; writes `documents`.
    Example: `{use: pack, tokens: 1000}`
    """

    writes = "documents"
    light = True

    tokens: PositiveInt = Field(default=1500, description="the budget, in the model's tokens")

    def run(self, documents: list[Document], *, llm: LLM, ctx: RunContext) -> list[Document]:
        """Choose what fits."""
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
        budget: Tokens in all.
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
