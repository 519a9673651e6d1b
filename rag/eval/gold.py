"""How much of what a question needs is in texts: where an answer was lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_core.documents import Document

from rag.eval.metrics import contains, normalized
from rag.text.chunk import Chunk
from rag.text.sentences import sentences

if TYPE_CHECKING:
    from rag.eval.dataset import Query


def gold_in(query: Query, documents: Sequence[Document]) -> float | None:
    """How much of the gold documents hold, 0 to 1; None: the question has no gold.

    Of the question's passages the share of their sentences; else 1 if one of its answers is in the
    documents, in whole words; else the share of the relevant documents.

    Args:
        query: The question.
        documents: With their source, where relevant documents are what is known.
    """
    if not query.answerable:
        return None
    if query.passages or query.answers:
        return gold_in_texts(query, [Chunk.of(one).embedding_text for one in documents])
    return _share_of_relevant(query, documents)


def gold_in_texts(query: Query, texts: Sequence[str]) -> float | None:
    """As `gold_in`, for texts whose source is not known; None where only documents are known."""
    if not query.answerable:
        return None
    if query.passages:
        return _share_of_passages(query, texts)
    return contains("\n".join(texts), query.answers) if query.answers else None


def relevant(query: Query, document: Document) -> bool | None:
    """Whether a document bears on the question; None: it is not known.

    By the judged documents if there are any, else by the passages, else by the answers.
    """
    if not query.answerable:
        return None
    if query.relevant:
        return not _ids(document).isdisjoint(_wanted(query))
    if query.passages or query.answers:
        return bool(gold_in(query, [document]))
    return None


def context_precision(flags: Sequence[bool | None]) -> float | None:
    """The mean of the precision at each relevant context: RAGAS (Es et al. 2023), its version 0.2.

    Args:
        flags: Of each context, best first, whether it is relevant.

    Returns:
        0 if none is relevant; None if it is not known of any, or there are no contexts.
    """
    known = [flag for flag in flags if flag is not None]
    if not known:
        return None
    at = [sum(known[:rank]) / rank for rank, flag in enumerate(known, start=1) if flag]
    return sum(at) / len(at) if at else 0.0


def context_recall(query: Query, documents: Sequence[Document]) -> float | None:
    """The share of the relevant documents among the contexts; without judgements, `gold_in`."""
    if not query.answerable:
        return None
    return _share_of_relevant(query, documents) if query.relevant else gold_in(query, documents)


def _share_of_relevant(query: Query, documents: Sequence[Document]) -> float | None:
    wanted = _wanted(query)
    found = set().union(*map(_ids, documents)) if documents else set()
    return len(wanted & found) / len(wanted) if wanted else None


def _share_of_passages(query: Query, texts: Sequence[str]) -> float:
    there = f" {normalized(' '.join(texts))} "
    needed = [normalized(one) for passage in query.passages for one in sentences(passage)]
    needed = [one for one in needed if one]
    return sum(f" {one} " in there for one in needed) / max(len(needed), 1)


def _wanted(query: Query) -> set[str]:
    return {name for name, grade in query.relevant.items() if grade > 0}


def _ids(document: Document) -> set[str]:
    """What a document may be called: its source, or its path in the folder that was ingested."""
    chunk = Chunk.of(document)
    return {chunk.source, chunk.path} - {""}
