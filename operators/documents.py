"""What operators share about documents: their scores, and which two are the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
    scores = {**document.metadata.get("scores", {}), by: score}
    metadata = {**document.metadata, "score": score, "scores": scores}
    return Document(page_content=document.page_content, metadata=metadata, id=document.id)


def identity(document: Document) -> str:
    """What makes two documents the same: the id, or the text where there is none."""
    return document.id or document.page_content


def unique(documents: Iterable[Document]) -> dict[str, Document]:
    """Identity to document, first seen first; the scores of all its copies are put together."""
    found: dict[str, Document] = {}
    for document in documents:
        key = identity(document)
        if key in found:
            scores = {
                **document.metadata.get("scores", {}),
                **found[key].metadata.get("scores", {}),
            }
            found[key].metadata["scores"] = scores
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
