"""An order of the context whose beginning a cache already has."""

from __future__ import annotations

from langchain_core.documents import Document

from rag.flow import Operator
from rag.operators.context_orders import ContextOrders


class OrderForReuse(Operator):
    """Orders documents so that prompts begin alike, and drops repeated texts.

    Prefix caches (`reuse: {mode: prefix}` here, vLLM, llama.cpp, the prompt caches of APIs) reuse
    the exact beginning of a prompt that was computed before. Documents go in the order of the
    earlier prompt that began with most of them, then the most frequent first (context index and
    ordering: ContextPilot, arXiv 2511.03475, section 4). For corpora whose documents are
    retrieved again and again; the last step before the answer, since afterwards the documents are
    no longer best first: each one's place before is in `metadata["rank"]`, from 1. The modes that
    reuse documents at any place (`align`, `craft`) need it not.
    Reads `documents`, best first; writes `documents`. Earlier orders are those of the flow, as
    long as it is open.
    Example: `{use: order_for_reuse}`
    """

    writes = "documents"
    light = True

    def run(self, documents: list[Document], *, context_orders: ContextOrders) -> list[Document]:
        """The documents in another order, each text once."""
        ranks: dict[str, int] = {}
        for rank, document in enumerate(documents, start=1):
            ranks.setdefault(document.page_content, rank)
        order = context_orders.order({text: len(text) for text in ranks})
        return [_ranked(documents[ranks[text] - 1], ranks[text]) for text in order]


def _ranked(document: Document, rank: int) -> Document:
    return document.model_copy(update={"metadata": {**document.metadata, "rank": rank}})
