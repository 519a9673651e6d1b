"""The sentences of documents that are most similar to a query."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from langchain_core.documents import Document

from rag.models import Embedder
from rag.text.chunk import Chunk
from rag.text.sentences import sentences

_RULE = re.compile(r"[|\s:-]*-[|\s:-]*")
_HEADING = re.compile(r"#{1,6}\s.*")
_BULLET = re.compile(r"\A[-*+\u2022]\s+")


class Sentence(NamedTuple):
    """A sentence of a document, or a row of a table, and how similar it is to a query."""

    document: int
    place: int
    """Within the document, from 0."""
    text: str
    read: str
    """The text by itself: a row with the names of its columns, an item without its bullet."""
    similarity: float


def similar_sentences(
    query: str, documents: Sequence[Document], embedder: Embedder
) -> list[Sentence]:
    """All sentences and table rows of documents, the most similar first.

    Each is embedded with its document's title and heading, and a row with its table's head.

    Args:
        query: What they are compared with.
        documents: In any order; of sentences alike, the earlier comes first.
        embedder: Embeds both; similarities are its vectors' dot products.
    """
    pieces = [
        (number, place, text, head)
        for number, document in enumerate(documents)
        for place, (text, head) in enumerate(_pieces(document.page_content))
    ]
    if not pieces:
        return []
    vectors = embedder.embed(
        [
            Chunk(f"{head}{text}", documents[number].metadata).embedding_text
            for number, _, text, head in pieces
        ]
    )
    scores = vectors @ embedder.embed_query(query)
    found = [
        Sentence(number, place, text, _alone(text, head), float(score))
        for (number, place, text, head), score in zip(pieces, scores, strict=True)
    ]
    return sorted(found, key=lambda one: (-one.similarity, one.document, one.place))


def most_similar_sentences(
    query: str, documents: list[Document], count: int, embedder: Embedder
) -> list[Document]:
    """The documents with their most similar sentences only; those without one are left out.

    Args:
        query: What they are compared with; empty: the documents stay whole.
        documents: In any order, which stays.
        count: Sentences over all documents.
        embedder: See `similar_sentences`.
    """
    if not query.strip():
        return documents
    best = similar_sentences(query, documents, embedder)[:count]
    if not best:
        return documents
    kept: dict[int, list[str]] = {}
    for one in sorted(best):
        kept.setdefault(one.document, []).append(one.text)
    return [
        documents[number].model_copy(update={"page_content": " ".join(texts)})
        for number, texts in kept.items()
    ]


def _alone(text: str, head: str) -> str:
    """A row of a Markdown table as `column: value; column: value`, an item without its bullet."""
    if not head:
        return _BULLET.sub("", text)
    names, values = (
        [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        for line in (head, text)
    )
    cells = zip_longest(names, values, fillvalue="")
    return "; ".join(f"{name}: {value}" if name else value for name, value in cells if value)


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """The text's sentences and table rows, each with the head of its table, if any.

    Headings, rules, and a table's head are none.
    """
    found = sentences(text, lines=True)
    head = ""
    for at, piece in enumerate(found):
        if not piece.startswith("|"):
            head = ""
        if at + 1 < len(found) and piece.startswith("|") and _RULE.fullmatch(found[at + 1]):
            head = f"{piece}\n"
        elif not (_RULE.fullmatch(piece) or _HEADING.fullmatch(piece)):
            yield piece, head
