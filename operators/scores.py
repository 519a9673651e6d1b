"""Scores of documents: read, given, scaled, ordered by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, SupportsFloat

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


def ranked(documents: Sequence[Document], scores: Sequence[float], by: str) -> list[Document]:
    """The documents with these scores, highest first; equal ones keep their order.

    Args:
        documents: In any order.
        scores: One for each.
        by: The operator that gave the scores.
    """
    order = sorted(range(len(documents)), key=lambda at: -scores[at])
    return [scored(documents[at], scores[at], by) for at in order]


def number_of(value: object) -> float | None:
    """A metadata value as a finite number, also if it is a numeric string; else None."""
    if isinstance(value, bool) or not isinstance(value, str | SupportsFloat):
        return None
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def score_of(document: Document, by: str | None = None) -> float | None:
    """The document's score; None if it has none, or if it is not a number.

    Args:
        document: With metadata of any kind.
        by: The operator whose score is wanted; default: the last one's.
    """
    return number_of(document.metadata.get("score")) if by is None else scores_of(document).get(by)


def scores_of(document: Document) -> dict[str, float]:
    """Operator to the score that it gave; values that are not numbers are left out."""
    given = document.metadata.get("scores")
    if not isinstance(given, Mapping):
        return {}
    numbers = {str(by): number_of(score) for by, score in given.items()}
    return {by: number for by, number in numbers.items() if number is not None}


def min_max(scores: Sequence[float]) -> list[float]:
    """Scores scaled linearly to 0..1; all 1 if they are equal."""
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


def softmax_weights(scores: Sequence[float], temperature: float) -> list[float]:
    """Softmax of min-max scaled scores, since every ranking has a scale of its own.

    Args:
        scores: At least one.
        temperature: Above 0; the lower, the more weight the highest score gets.
    """
    exps = [math.exp((score - 1) / temperature) for score in min_max(scores)]
    return [one / sum(exps) for one in exps]


def standardised(scores: np.ndarray) -> np.ndarray:
    """Scores with mean 0 and standard deviation 1: [n]; all 0 if they are equal."""
    spread = scores.std()
    centred: np.ndarray = scores - scores.mean()
    return centred / spread if spread > 0 else centred


def with_prior(scores: Sequence[float], documents: Sequence[Document], prior: float) -> list[float]:
    """New scores and the documents' current ones together, both standardised.

    Args:
        scores: One for each document.
        documents: What has no score counts as 0.
        prior: Weight of the current scores; 0: the new ones alone, as they are.
    """
    if not prior:
        return list(scores)
    import numpy as np

    before = np.array([score_of(document) or 0.0 for document in documents])
    both = standardised(np.array(scores)) + prior * standardised(before)
    return [float(score) for score in both]
