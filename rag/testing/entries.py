"""Entries of a store of states, and their keys, the same in every process."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from rag.kvcache.store.base import Entry

if TYPE_CHECKING:
    import torch


def key_of(name: object) -> str:
    """A key as `Keys` makes them: SHA-256, hexadecimal."""
    return hashlib.sha256(str(name).encode()).hexdigest()


def entry_of(
    seed: int = 0,
    tokens: int = 8,
    *,
    layers: int = 2,
    heads: int = 2,
    dim: int = 8,
    dtype: torch.dtype | None = None,
    cost: float = 1.0,
) -> Entry:
    """An entry of random states: `keys` and `values` [layers, heads, tokens, dim].

    Args:
        seed: Of the numbers; entries of different seeds have different tokens.
        tokens: How many.
        layers: How many.
        heads: How many.
        dim: Of a head.
        dtype: None: float32.
        cost: Seconds that computing the states is said to have taken.
    """
    import torch

    source = torch.Generator().manual_seed(seed)
    shape = (layers, heads, tokens, dim)
    tensors = {
        name: torch.randn(shape, generator=source).to(dtype or torch.float32)
        for name in ("keys", "values")
    }
    ids = tuple(range(seed * 100, seed * 100 + tokens))
    return Entry(ids, tensors, {"seed": str(seed)}, cost)


def same(one: Entry, other: Entry) -> bool:
    """Whether two entries are equal to the last bit."""
    import torch

    return (
        (one.ids, one.meta, one.cost) == (other.ids, other.meta, other.cost)
        and one.tensors.keys() == other.tensors.keys()
        and all(
            tensor.dtype == other.tensors[name].dtype
            and tensor.shape == other.tensors[name].shape
            and torch.equal(_bytes(tensor), _bytes(other.tensors[name]))
            for name, tensor in one.tensors.items()
        )
    )


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """What a tensor holds, so that numbers which equal nothing compare too."""
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8)
