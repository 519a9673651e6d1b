"""The shape of a model's KV states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from rag.kvcache.rotation import Rotation


@dataclass(frozen=True, slots=True)
class Geometry:
    """All that a buffer of states must know of a model.

    Attributes:
        layers: Decoder layers.
        heads: Query heads of each layer.
        kv_heads: Key and value heads of each layer; divides `heads`.
        head_dim: Width of a head.
        windows: Each layer's sliding window in tokens; None: full attention.
        rotation: How keys are rotated to their positions.
        dtype: Number format of the states.
        device: Where they are.
    """

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    windows: tuple[int | None, ...]
    rotation: Rotation
    dtype: torch.dtype
    device: torch.device

    @property
    def groups(self) -> int:
        """Query heads that share a key head."""
        return self.heads // self.kv_heads

    def shape(self, tokens: int) -> tuple[int, int, int, int]:
        """The shape of the keys, and of the values, of so many tokens."""
        return self.layers, self.kv_heads, tokens, self.head_dim

    def bytes(self, tokens: int) -> int:
        """Of the keys and values of so many tokens."""
        return 2 * self.layers * self.kv_heads * tokens * self.head_dim * self.dtype.itemsize

    def empty(self, tokens: int) -> torch.Tensor:
        """Room for the keys, or the values, of so many tokens."""
        import torch

        return torch.empty(self.shape(tokens), dtype=self.dtype, device=self.device)
