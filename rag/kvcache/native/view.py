"""A written-out decoder as a model that makes passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.kvcache.model import ModelView
from rag.kvcache.native.decoder import Decoder
from rag.kvcache.passes import Pass

if TYPE_CHECKING:
    import torch


class NativeView(ModelView):
    """A decoder that was proved against transformers.

    Args:
        decoder: The decoder.
        id: Its name.
    """

    def __init__(self, decoder: Decoder, id: str) -> None:  # noqa: A002
        self.id, self.architecture = id, decoder.config.architecture
        self.decoder, self.config, self.geometry = decoder, decoder.config, decoder.geometry

    def fingerprint(self) -> str:
        """See `ModelView.fingerprint`."""
        return self.decoder.config.fingerprint

    def steps(self, passes: Sequence[Pass]) -> list[torch.Tensor]:
        """See `ModelView.steps`."""
        return self.decoder(passes)
