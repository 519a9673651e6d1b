"""A causal language model that makes passes: what the engine works with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rag.errors import ModelError

if TYPE_CHECKING:
    import torch

    from rag.kvcache.geometry import Geometry
    from rag.kvcache.passes import Pass


class ModelView(ABC):
    """A causal language model whose attention follows plans.

    Made by `opening.open_view`.

    Attributes:
        id: Its name, for messages.
        architecture: The name of its class in transformers, for messages.
        config: Its sizes, named as in configurations of transformers: `vocab_size` and others.
        geometry: The shape of its states.
        attends: Whether prefill by plan gives the model's own logits. If not, the model runs
            without the engine.
        refusal: Why prompts of this model cannot be composed; None: they can.
    """

    id: str
    architecture: str
    config: Any
    geometry: Geometry
    attends: bool = True
    refusal: str | None = None

    @property
    def layers(self) -> int:
        """Decoder layers."""
        return self.geometry.layers

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.geometry.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of its states."""
        return self.geometry.dtype

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of all that the states depend on; see `fingerprint.fingerprint`."""

    def forward(self, one: Pass) -> torch.Tensor:
        """Make a pass; the tokens' states go into the buffer.

        Returns:
            Logits of the last token [1, vocabulary], or of all [tokens, vocabulary]; of a pass
            that stops in a layer: [0, vocabulary].
        """
        return self.steps([one])[0]

    @abstractmethod
    def steps(self, passes: Sequence[Pass]) -> list[torch.Tensor]:
        """Make passes of several requests.

        Args:
            passes: Each of another buffer.

        Returns:
            For each pass its logits, as `forward`.
        """

    def require_composable(self, tokens: int) -> None:
        """Check that a prompt's states may be composed.

        Args:
            tokens: Of the prompt and its longest answer.

        Raises:
            ModelError: The model does something that composing does not reproduce.
        """
        limit = self.geometry.rotation.limit
        if self.refusal is not None or (limit is not None and tokens > limit):
            why = self.refusal or f"its RoPE changes beyond {limit} tokens"
            raise ModelError(
                f"{self.id!r} ({self.architecture}) cannot reuse chunks: {why}",
                where="reuse.mode",
                fix="use mode: full or prefix, or a smaller max_tokens",
            )
