"""What operators share about documents: their scores, and which two are the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat

from langchain_core.documents import Document

if TYPE_CHECKING:
    import numpy as np


def scored(document: Document, score: float, by: str) -> Document:
    """A copy of the document with a new score; the scores of earlier operators are kept.

    Args:
        document: Not changed.
        score: Goes to `metadata["score"]`, and to `metadata["scores"][by]`.
        by: The operator that gave the score.
    """
    scores = {**scores_of(document), by: score}
    metadata = {**document.metadata, "score": score, "scores": scores}
    return Document(page_content=document.page_content, metadata=metadata, id=document.id)


def number_of(value: object) -> float | None:
    """A value of somebody's metadata as a number, also where a text says it; None: it is none."""
    if isinstance(value, bool) or not isinstance(value, str | SupportsFloat):
        return None
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def score_of(document: Document, by: str | None = None) -> float | None:
    """The document's score; None where there is none, or what is there is no number.

    Args:
        document: With metadata of any kind.
        by: The operator whose score; the last's.
    """
    return number_of(document.metadata.get("score")) if by is None else scores_of(document).get(by)


def scores_of(document: Document) -> dict[str, float]:
    """Operator to the score that it gave; whatever else stands there is left out."""
    given = document.metadata.get("scores")
    if not isinstance(given, Mapping):
        return {}
    numbers = {str(by): number_of(score) for by, score in given.items()}
    return {by: number for by, number in numbers.items() if number is not None}


def identity(document: Document) -> str:
    """What makes two documents the same: the id, or the text where there is none."""
    return document.id or document.page_content


def unique(documents: Iterable[Document]) -> dict[str, Document]:
    """Identity to document, first seen first; the scores of all its copies are put together."""
    found: dict[str, Document] = {}
    for document in documents:
        key = identity(document)
        if key in found:
            found[key].metadata["scores"] = {**scores_of(document), **scores_of(found[key])}
        else:
            found[key] = document.model_copy(update={"metadata": dict(document.metadata)})
    return found


def both(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The filter that holds where both do; None: no filter."""
    given = [dict(where) for where in (one, other) if where]
    return {"$and": given} if len(given) > 1 else next(iter(given), None)


def shares(scores: Sequence[float], temperature: float) -> list[float]:
    """Softmax of scores that are brought to 0 to 1 first, since every ranking has its own scale."""
    low, high = min(scores), max(scores)
    reach = (high - low) or 1.0
    exps = [math.exp(((score - low) / reach - 1) / temperature) for score in scores]
    return [one / sum(exps) for one in exps]


def standardised(scores: np.ndarray) -> np.ndarray:
    """Scores brought to mean 0 and deviation 1: [n]; equal ones to 0."""
    spread = scores.std()
    centred: np.ndarray = scores - scores.mean()
    return centred / spread if spread > 0 else centred
