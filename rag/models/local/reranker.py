"""Reranking by a cross-encoder of sentence-transformers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from rag.models.reranker import CrossEncoder


class LocalCrossEncoder(CrossEncoder):
    """A sentence-transformers cross-encoder.

    Args:
        model: The open `CrossEncoder` of sentence-transformers.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._lock = threading.Lock()

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """See `CrossEncoder.score`."""
        if not texts:
            return []
        pairs = [(query, text) for text in texts]
        with self._lock:
            scores = self._model.predict(pairs, show_progress_bar=False)
        return [float(score) for score in scores]
