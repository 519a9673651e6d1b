"""How much of what was found the generator reads."""

from __future__ import annotations

from typing import Literal

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.models import Embedder, Profiled
from rag.operators.selection import most_similar_sentences

PER_DOCUMENT = 1024
"""Tokens of the window for each document that a strong model reads."""
FEWEST, MOST = 8, 16
"""Documents that a strong model reads, at least and at most."""


class SelectContext(Operator):
    """Chooses how much is read by what reads it: the model's size and its window.

    A small model gets the first four documents, reduced to the sentences most similar to the
    query (`select_sentences`): it answers better from a few sentences than from pages. A strong
    one gets whole documents, 8 to 16 by its window: what is left out before it reads cannot be
    answered (Jiang et al. 2023, arXiv 2310.06839, figure 1, has the loss by compression). The
    size is that of the model's profile. No LLM call.
    Reads `query` and `documents`; writes `documents`, in the same order.
    Example: `{use: select_context, k: auto, compress: auto}`
    """

    writes = "documents"
    light = True

    k: PositiveInt | Literal["auto"] = Field(
        default="auto",
        description="number of documents; auto: `small`, or 8 to 16 for a strong model",
    )
    small: PositiveInt = Field(
        default=4, description="number of documents that a small model reads, if `k` is auto"
    )
    compress: Literal["auto", "none", "sentences"] = Field(
        default="auto",
        description="reduce them to sentences; auto: for a small model only",
    )
    sentences: PositiveInt = Field(
        default=3, description="number of sentences to keep, over all documents"
    )

    def run(
        self, query: str, documents: list[Document], *, llm: Profiled, embedder: Embedder
    ) -> list[Document]:
        """What is read."""
        small = llm.profile.size == "small"
        auto = self.small if small else min(max(llm.window // PER_DOCUMENT, FEWEST), MOST)
        found = documents[: auto if self.k == "auto" else self.k]
        if self.compress == "none" or (self.compress == "auto" and not small):
            return found
        return most_similar_sentences(query, found, self.sentences, embedder)
