"""The protocol of a learned sparse encoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.models.resource import ModelResource

if TYPE_CHECKING:
    import numpy as np


class SparseEncoder(ModelResource):
    """A model that weights the words of its vocabulary for a text (SPLADE and the like)."""

    opener = "rag.models.opening.encoders:open_sparse_encoder"

    id: str
    """Distinguishes this encoder from any other, wherever it is installed."""
    dim: int
    """Size of the vocabulary."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each text its words, int32 ids [n] ascending, and their weights, float32 [n]."""

    @abstractmethod
    def encode_query(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """As `encode`, for a query."""
