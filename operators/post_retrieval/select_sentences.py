"""Extractive compression by sentence selection."""

from __future__ import annotations

import re

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator
from rag.models import Embedder
from rag.text.chunk import Chunk
from rag.text.sentences import sentences

_RULE = re.compile(r"[|\s:-]+|#{1,6}\s.*")


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
        pieces = [
            (number, place, text)
            for number, document in enumerate(documents)
            for place, text in enumerate(_pieces(document.page_content))
        ]
        if not pieces or not query.strip():
            return documents
        vectors = embedder.embed(
            [Chunk(text, documents[number].metadata).embedding_text for number, _, text in pieces]
        )
        scores = vectors @ embedder.embed_query(query)
        best = sorted(range(len(pieces)), key=lambda at: (-scores[at], at))[: self.sentences]
        kept: dict[int, list[tuple[int, str]]] = {}
        for at in best:
            number, place, text = pieces[at]
            kept.setdefault(number, []).append((place, text))
        return [
            documents[number].model_copy(
                update={"page_content": " ".join(text for _, text in sorted(kept[number]))}
            )
            for number in sorted(kept)
        ]


def _pieces(text: str) -> list[str]:
    """The text's sentences and table rows, without headings and rules."""
    return [piece for piece in sentences(text, lines=True) if not _RULE.fullmatch(piece)]
