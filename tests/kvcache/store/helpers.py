"""Entries and keys that tests and the processes they start make alike."""

from __future__ import annotations

import hashlib

import torch

from rag.kvcache.store import Entry


def key_of(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def entry_of(
    seed: int = 0,
    tokens: int = 8,
    *,
    layers: int = 2,
    heads: int = 2,
    dim: int = 8,
    dtype: torch.dtype = torch.float32,
    cost: float = 1.0,
) -> Entry:
    source = torch.Generator().manual_seed(seed)
    shape = (layers, heads, tokens, dim)
    tensors = {name: torch.randn(shape, generator=source).to(dtype) for name in ("keys", "values")}
    ids = tuple(range(seed * 100, seed * 100 + tokens))
    return Entry(ids, tensors, {"seed": str(seed)}, cost)


def bytes_of(tensor: torch.Tensor) -> torch.Tensor:
    """What a tensor holds, so that numbers which equal nothing compare too."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def same(one: Entry, other: Entry) -> bool:
    return (
        (one.ids, one.meta, one.cost) == (other.ids, other.meta, other.cost)
        and one.tensors.keys() == other.tensors.keys()
        and all(
            tensor.dtype == other.tensors[name].dtype
            and tensor.shape == other.tensors[name].shape
            and torch.equal(bytes_of(tensor), bytes_of(other.tensors[name]))
            for name, tensor in one.tensors.items()
        )
    )
