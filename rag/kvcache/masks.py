"""Which slots the tokens of a pass see: causal and sliding-window masks made from positions."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROWS = 128
"""Queries masked together: each such block skips the keys that stand after its last query."""


@dataclass
class Masks:
    """The masks of one pass; every layer with the same window shares them.

    A token sees the slots whose positions are not after its own and within the layer's window.
    Slots are places in memory: they may be in any order.

    Attributes:
        queries: Positions of the pass's tokens: [queries].
        keys: Positions of all slots: [keys].
        windows: Each layer's sliding window, or None.
        groups: Query heads per key head. Masks are repeated so often, since the queries of heads
            that share a key head are folded into rows (`kernels.fold`).
    """

    queries: torch.Tensor
    keys: torch.Tensor
    windows: tuple[int | None, ...]
    groups: int
    _additive: dict[tuple[int | None, torch.dtype], torch.Tensor] = field(default_factory=dict)
    _blocks: dict[tuple[int | None, torch.dtype], list[tuple[slice, slice, torch.Tensor]]] = field(
        default_factory=dict
    )
    _unmasked: dict[int | None, bool] = field(default_factory=dict)

    @cached_property
    def causal(self) -> bool:
        """Whether queries and keys are the same tokens in order, from position 0."""
        import torch

        count = len(self.queries)
        if count < 2 or len(self.keys) != count:
            return False
        order = torch.arange(count, device=self.queries.device)
        return bool((self.queries == order).all() and (self.keys == order).all())

    def unmasked(self, window: int | None) -> bool:
        """Whether every query sees every slot."""
        if window not in self._unmasked:
            keys, queries = self.keys, self.queries
            self._unmasked[window] = bool(keys.max() <= queries.min()) and (
                window is None or bool(queries.max() - keys.min() < window)
            )
        return self._unmasked[window]

    def additive(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """What is added to the scores over all slots: 0 or -inf, [groups * queries, keys]."""
        if (window, dtype) not in self._additive:
            mask = additive(visible(self.queries, self.keys, window), dtype, self.groups)
            self._additive[window, dtype] = mask
        return self._additive[window, dtype]

    def blocks(
        self, window: int | None, dtype: torch.dtype
    ) -> list[tuple[slice, slice, torch.Tensor]]:
        """Blocks of queries, the slots that any query of a block may see, and the mask over them.

        Where slots are in the order of their positions, as in repaired prompts, a block near the
        beginning needs few of them: half of the work on average.

        Returns:
            Rows of the block, its slots, and the additive mask [groups * rows, slots].
        """
        import torch

        if (window, dtype) in self._blocks:
            return self._blocks[window, dtype]
        keys, queries = self.keys, self.queries
        ordered = bool((keys[1:] >= keys[:-1]).all())
        blocks = []
        for start in range(0, len(queries), ROWS):
            rows = slice(start, min(start + ROWS, len(queries)))
            first, end = 0, len(keys)
            if ordered:
                end = int(torch.searchsorted(keys, queries[rows].max(), right=True))
                if window is not None:
                    first = int(torch.searchsorted(keys, queries[rows].min() - window + 1))
            seen = visible(queries[rows], keys[first:end], window)
            blocks.append((rows, slice(first, end), additive(seen, dtype, self.groups)))
        self._blocks[window, dtype] = blocks
        return blocks


def visible(queries: torch.Tensor, keys: torch.Tensor, window: int | None) -> torch.Tensor:
    """Whether each query sees each key.

    Args:
        queries: Positions [queries].
        keys: Positions [keys].
        window: Tokens that a query sees back to, itself included; None: all.

    Returns:
        Truth values [queries, keys].
    """
    distance = queries[:, None] - keys[None]
    seen = distance >= 0
    return seen if window is None else seen & (distance < window)


def additive(seen: torch.Tensor, dtype: torch.dtype, groups: int) -> torch.Tensor:
    """A mask of truth values [queries, keys] as 0 and -inf: [groups * queries, keys]."""
    import torch

    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, float("-inf")).repeat(groups, 1)
