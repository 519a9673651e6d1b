"""The protocol of a reranker."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from rag.models.resource import ModelResource


class CrossEncoder(ModelResource):
    """A model that scores a query and a document together."""

    opener = "rag.models.opening.encoders:open_cross_encoder"

    @abstractmethod
    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the query; higher is better, the scale is the model's."""
