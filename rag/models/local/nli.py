"""Natural language inference by a cross-encoder of sentence-transformers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from rag.models.nli import NLI


class LocalNLI(NLI):
    """A cross-encoder of sentence-transformers with a label for entailment.

    Args:
        model: The open `CrossEncoder` of sentence-transformers.
        label: The number of that label.
    """

    def __init__(self, model: Any, label: int) -> None:
        self._model = model
        self._label = label
        self._lock = threading.Lock()

    def entails(self, premises: Sequence[str], hypothesis: str) -> list[float]:
        """See `NLI.entails`."""
        if not premises:
            return []
        pairs = [(premise, hypothesis) for premise in premises]
        with self._lock:
            rows = self._model.predict(pairs, apply_softmax=True, show_progress_bar=False)
        return [float(row[self._label]) for row in rows]
