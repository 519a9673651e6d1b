"""Keys and values of one request: room for all of them from the start, filled in place."""

from __future__ import annotations

import torch

from rag.kvcache.geometry import Geometry
from rag.kvcache.masks import Masks

_BEYOND = 2**40
"""A position behind all tokens."""


class KVBuffer:
    """What a model's layers write into and read from.

    A slot is a place in memory, not a position: `positions` says where a slot's token stands, and
    masks are made from that. States of chunks are copied in, chosen ones overwritten, new ones
    appended; nothing is ever concatenated.

    Attributes:
        keys: Rotated keys: [layers, kv_heads, capacity, head_dim].
        values: As `keys`.
        positions: Of each slot's token: [capacity].
        length: Slots in use.
        regime: Which frequencies its tokens are rotated with (`Rotation.regime`).

    Args:
        geometry: The model's.
        capacity: Slots: tokens of the prompt and of the longest answer.
    """

    def __init__(self, geometry: Geometry, capacity: int) -> None:
        self.geometry = geometry
        self.keys, self.values = geometry.empty(capacity), geometry.empty(capacity)
        self.positions = torch.zeros(capacity, dtype=torch.long, device=geometry.device)
        self.length = 0
        self.regime = geometry.rotation.regime(capacity)
        self._slots: slice | torch.Tensor = slice(0, 0)

    @property
    def capacity(self) -> int:
        """Slots."""
        return int(self.keys.shape[2])

    def place(self, keys: torch.Tensor, values: torch.Tensor, positions: torch.Tensor) -> slice:
        """Append states.

        Args:
            keys: Rotated: [layers, kv_heads, tokens, head_dim].
            values: As `keys`.
            positions: [tokens].

        Returns:
            Their slots.
        """
        slots = self.reserve(positions)
        self.keys[:, :, slots] = keys
        self.values[:, :, slots] = values
        return slots

    def place_unrotated(
        self, keys: torch.Tensor, values: torch.Tensor, positions: torch.Tensor
    ) -> slice:
        """As `place`, of keys before rotation."""
        slots = self.reserve(positions)
        self.geometry.rotation.rotate(keys, positions, self.keys[:, :, slots])
        self.values[:, :, slots] = values
        return slots

    def reserve(self, positions: torch.Tensor) -> slice:
        """Append slots for tokens at positions [tokens] whose states a later pass writes."""
        slots = slice(self.length, self.length + len(positions))
        self.positions[slots] = positions.to(self.positions.device)
        self.length = slots.stop
        return slots

    def hide(self, tokens: int) -> None:
        """Append slots that no token sees until a pass rewrites them."""
        slots = self.reserve(torch.full((tokens,), _BEYOND))
        # A masked number that is none would still be none after it was multiplied by zero.
        self.keys[:, :, slots] = 0
        self.values[:, :, slots] = 0

    def prepare(self, positions: torch.Tensor, rewrite: torch.Tensor | None = None) -> Masks:
        """Choose the slots that the next pass writes to.

        Args:
            positions: Of the pass's tokens: [tokens].
            rewrite: Slots [n] that the first n tokens write again; the others are appended.

        Returns:
            Who sees whom in the pass.

        Raises:
            ValueError: The buffer has too few slots.
        """
        device = self.positions.device
        positions = positions.to(device)
        again = 0 if rewrite is None else len(rewrite)
        start, stop = self.length, self.length + len(positions) - again
        if stop > self.capacity:
            raise ValueError(f"{stop} slots are needed, the buffer has {self.capacity}")
        self._slots = slice(start, stop)
        if rewrite is not None and again:
            appended = torch.arange(start, stop, device=device)
            self._slots = torch.cat([rewrite.to(device), appended])
        self.positions[self._slots] = positions
        self.length = stop
        geometry = self.geometry
        return Masks(positions, self.positions[:stop], geometry.windows, geometry.groups)

    def cut(self, length: int) -> None:
        """Drop all slots from `length` on."""
        self.length = length

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a layer's new states and return all.

        Args:
            keys: Of the pass's tokens, rotated: [1, kv_heads, tokens, head_dim].
            values: As `keys`.
            layer: Its number.

        Returns:
            Keys and values of all slots: [1, kv_heads, slots, head_dim].
        """
        self.keys[layer, :, self._slots] = keys[0]
        self.values[layer, :, self._slots] = values[0]
        end = self.length
        return self.keys[layer, None, :, :end], self.values[layer, None, :, :end]
