"""The protocol of a model of natural language inference."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from rag.models.resource import ModelResource


class NLI(ModelResource):
    """A model of natural language inference: whether one text entails another."""

    opener = "rag.models.opening.encoders:open_nli"

    @abstractmethod
    def entails(self, premises: Sequence[str], hypothesis: str) -> list[float]:
        """The probability, 0 to 1, that each premise entails the hypothesis."""
