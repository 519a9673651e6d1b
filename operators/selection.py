"""The sentences of documents that are most similar to a query."""

from __future__ import annotations

import re

from langchain_core.documents import Document

from rag.models import Embedder
from rag.text.chunk import Chunk
from rag.text.sentences import sentences

_RULE = re.compile(r"[|\s:-]+|#{1,6}\s.*")


def most_similar_sentences(
    query: str, documents: list[Document], count: int, embedder: Embedder
) -> list[Document]:
    """The documents with their most similar sentences only; those without one are left out.

    A sentence is embedded with its document's title and heading.

    Args:
        query: What they are compared with; empty: the documents stay whole.
        documents: In any order, which stays.
        count: Sentences over all documents.
        embedder: Embeds both.
    """
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
    best = sorted(range(len(pieces)), key=lambda at: (-scores[at], at))[:count]
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
