"""Ordering what searches by vectors and by words found together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.index.types import Candidates, Hit
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
