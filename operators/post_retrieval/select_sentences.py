"""Extractive compression by sentence selection."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.models import Embedder
from rag.operators.selection import most_similar_sentences


class SelectSentences(Operator):
    """Keeps the sentences most similar to the query, in their original order.

    As RECOMP's extractive compressor (Xu et al. 2023, arXiv 2310.04408, section 3.1), with the
    embedder as it is instead of a trained one; a sentence is embedded with its document's title
    and heading. For small generators, which answer better from a few sentences than from pages.
    Citations still point to the whole chunk.
    Reads `query` and `documents`; writes `documents` that kept a sentence, in the same order.
    Example: `{use: select_sentences, sentences: 3}`
    """

    writes = "documents"
    light = True

    sentences: PositiveInt = Field(
        default=4, description="number of sentences to keep, over all documents"
    )

    def run(self, query: str, documents: list[Document], *, embedder: Embedder) -> list[Document]:
        """The shortened documents."""
        return most_similar_sentences(query, documents, self.sentences, embedder)
