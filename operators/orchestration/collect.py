"""Documents collected over several searches."""

from __future__ import annotations

from itertools import chain, zip_longest

from langchain_core.documents import Document

from rag.flow import Operator
from rag.operators.documents import unique


class Collect(Operator):
    """Adds what a search found to what earlier ones found, in turns: one of these, one of those.

    The paragraphs that IRCoT collects over its steps (Trivedi et al. 2022, arXiv 2212.10509,
    section 3). For loops that search for one fact after another: whoever reads the first documents
    reads some of every search. No LLM call.
    Reads `documents` and, if present, `found`; writes `found`, each document once.
    Example: `{use: collect}`
    """

    writes = "found"
    light = True

    def run(self, documents: list[Document], found: list[Document] | None = None) -> list[Document]:
        """All documents; the first is an earlier one."""
        pairs = zip_longest(found or [], documents)
        return list(unique(one for one in chain.from_iterable(pairs) if one is not None).values())
