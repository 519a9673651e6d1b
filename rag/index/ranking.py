"""Scores of sources by their chunks, and the order of what two searches found together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.index.attention import LearnedAttention
from rag.index.types import Aggregate, Candidates, Hit
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

TEMPERATURE = 0.1
"""Of the weights by attention, in cosines: a tenth less is a third of the weight."""


def ranked(
    chunks: Sequence[Chunk], candidates: Candidates, scores: np.ndarray, k: int
) -> list[Hit]:
    """The best candidates, ties in their order, with the parts of their scores.

    Args:
        chunks: In the order of insertion.
        candidates: What is known of them.
        scores: What they are ordered by: float [chunks].
        k: How many.
    """
    import numpy as np

    best = np.argsort(-scores, kind="stable")[:k]
    return [
        Hit(
            chunks[n],
            float(scores[n]),
            {"dense": float(candidates.dense[n]), "bm25": float(candidates.sparse[n])},
        )
        for n in best
    ]


def aggregated(
    vectors: np.ndarray,
    cosines: np.ndarray,
    starts: np.ndarray,
    query: np.ndarray,
    aggregate: Aggregate,
) -> np.ndarray:
    """The scores of sources whose chunks follow one another from `starts`: float32 [sources]."""
    import numpy as np

    if isinstance(aggregate, LearnedAttention):
        logits = (cosines - 1) / aggregate.temperature + vectors @ aggregate.weights
        sizes = np.diff(starts, append=len(logits))
        weights = np.exp(logits - np.repeat(np.maximum.reduceat(logits, starts), sizes))
        total = np.add.reduceat(weights, starts)
        attended = np.add.reduceat(weights * cosines, starts) / total
        mean = aggregated(vectors, cosines, starts, query, "mean")
        return np.asarray((1 - aggregate.mean) * attended + aggregate.mean * mean)
    if aggregate == "max":
        return np.asarray(np.maximum.reduceat(cosines, starts))
    if aggregate == "attention":
        weights = np.exp((cosines - 1) / TEMPERATURE)
        total = np.add.reduceat(weights, starts)
        return np.asarray(np.add.reduceat(weights * cosines, starts) / total)
    sums = np.add.reduceat(vectors, starts, axis=0)
    return np.asarray(sums @ query / np.maximum(np.linalg.norm(sums, axis=1), 1e-12))
