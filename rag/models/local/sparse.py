"""Learned sparse encoding by sentence-transformers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rag.models.sparse import SparseEncoder

if TYPE_CHECKING:
    import numpy as np


class LocalSparseEncoder(SparseEncoder):
    """A sentence-transformers sparse encoder.

    Args:
        model: The open `SparseEncoder` of sentence-transformers.
        id: Distinguishes it from any other encoder.
    """

    def __init__(self, model: Any, id: str) -> None:  # noqa: A002
        self.id = id
        self._model = model
        self._lock = threading.Lock()
        # Some models report the dimension of their hidden states instead.
        self.dim = int(model.encode_query("dimension", show_progress_bar=False).shape[-1])

    def encode(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """See `SparseEncoder.encode`."""
        return self._encode("encode_document", list(texts)) if texts else []

    def encode_query(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """See `SparseEncoder.encode_query`."""
        return self._encode("encode_query", [text])[0]

    def _encode(self, method: str, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        import numpy as np

        with self._lock:
            rows = getattr(self._model, method)(
                texts, show_progress_bar=False, convert_to_tensor=False, save_to_cpu=True
            )
        result = []
        for row in rows:
            row = row.coalesce()  # noqa: PLW2901
            words = row.indices()[0].numpy().astype(np.int32)
            result.append((words, row.values().float().numpy().astype(np.float32)))
        return result
