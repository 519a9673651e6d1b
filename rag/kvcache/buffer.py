"""Keys and values of one request: room for all of them from the start, filled in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import Cache

from rag.kvcache.attention import Plan

if TYPE_CHECKING:
    from rag.kvcache.model import ModelView


class KVBuffer(Cache):  # type: ignore[misc]  # transformers is not typed
    """The cache that a model's layers write into and read from.

    A slot is a place in memory, not a position: `positions` says where a slot's token stands, and
    masks are made from that. States of chunks are copied in, chosen ones overwritten, new ones
    appended; nothing is ever concatenated.

    Args:
        view: The model.
        capacity: Slots.
    """

    def __init__(self, view: ModelView, capacity: int) -> None:
        shape = (view.layers, view.kv_heads, capacity, view.head_dim)
        self.view = view
        self.keys = torch.empty(shape, dtype=view.dtype, device=view.device)
        self.values = torch.empty(shape, dtype=view.dtype, device=view.device)
        self.positions = torch.zeros(capacity, dtype=torch.long, device=view.device)
        self.length = 0
        """Slots in use."""
        self.layers: list[Any] = []
        self._slots: slice | torch.Tensor = slice(0, 0)
        self._offloading = False

    @property
    def capacity(self) -> int:
        """Slots."""
        return int(self.keys.shape[2])

    def place(self, keys: torch.Tensor, values: torch.Tensor, positions: torch.Tensor) -> slice:
        """Append ready states.

        Args:
            keys: Rotated: [layers, kv_heads, tokens, head_dim].
            values: As `keys`.
            positions: [tokens].

        Returns:
            The slots that they have now.
        """
        slots = self.reserve(positions)
        self.keys[:, :, slots] = keys
        self.values[:, :, slots] = values
        return slots

    def place_plain(
        self, keys: torch.Tensor, values: torch.Tensor, positions: torch.Tensor
    ) -> slice:
        """As `place`, of keys that are not rotated yet."""
        slots = self.reserve(positions)
        self.view.rotation.put(keys, positions, self.keys[:, :, slots])
        self.values[:, :, slots] = values
        return slots

    def reserve(self, positions: torch.Tensor) -> slice:
        """Append slots for tokens [tokens] whose states the next pass writes."""
        slots = slice(self.length, self.length + len(positions))
        self.positions[slots] = positions.to(self.positions.device)
        self.length = slots.stop
        return slots

    def plan(
        self, positions: torch.Tensor, rewrite: torch.Tensor | None = None, **fields: Any
    ) -> Plan:
        """Prepare the next pass.

        Args:
            positions: [tokens] of the pass.
            rewrite: Slots [n] that the first n tokens of the pass write again; the rest is
                appended.
            fields: Of `Plan`.
        """
        count = len(positions)
        again = 0 if rewrite is None else len(rewrite)
        start, stop = self.length, self.length + count - again
        if stop > self.capacity:
            raise ValueError(f"{stop} slots are needed, the buffer has {self.capacity}")
        if rewrite is None or not again:
            self._slots = slice(start, stop)
        else:
            appended = torch.arange(start, stop, device=rewrite.device)
            self._slots = torch.cat([rewrite, appended])
        self.positions[self._slots] = positions
        first = start == 0 and not again
        self.length = stop
        return Plan(
            queries=positions,
            keys=self.positions[:stop],
            windows=self.view.windows,
            groups=self.view.heads // self.view.kv_heads,
            causal=first and bool((positions == torch.arange(count, device=positions.device)).all())
            if first and count > 1
            else False,
            **fields,
        )

    def cut(self, length: int) -> None:
        """Forget all slots from `length` on."""
        self.length = length

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Called by the model's layers: take [1, kv_heads, tokens, head_dim], give all there is."""
        self.keys[layer_idx, :, self._slots] = key_states[0]
        self.values[layer_idx, :, self._slots] = value_states[0]
        end = self.length
        return self.keys[layer_idx, None, :, :end], self.values[layer_idx, None, :, :end]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Slots in use."""
        return self.length

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Slots that a mask would be made for, and the first of them; plans make their own."""
        return self.length, 0
