"""A prompt, tiny engines, and the reference that composed states are compared with."""

from __future__ import annotations

from typing import Any

import torch

from rag.kvcache.align.alignment import FIRST, PLACES, Alignment
from rag.kvcache.composition import Defaults
from rag.kvcache.engine import KVEngine
from rag.kvcache.geometry import Geometry
from rag.kvcache.keys import Keys
from rag.kvcache.opening import open_view
from rag.kvcache.prefilled import Prefilled
from rag.kvcache.settings import ReuseSettings
from rag.kvcache.store import KVStore, MemoryTier
from rag.testing.tiny_models import tiny_model

PREFIX = [1, 5, 9, 17, 33]
CHUNKS = [list(range(10, 31)), list(range(60, 77)), list(range(31, 60)), [7, 7, 8]]
SUFFIX = [3, 99, 98, 97, 50, 4]
CONTEXT = [token for chunk in CHUNKS for token in chunk]
ALL = [*PREFIX, *CONTEXT, *SUFFIX]


def make_engine(name: str, store: KVStore | None = None, dtype: Any = torch.float32) -> KVEngine:
    store = store or KVStore([MemoryTier(1 << 28)])
    view = open_view(tiny_model(name, dtype), name)
    return KVEngine(view, store, Keys(name), Defaults(alignment=shift(view.geometry, 0.1)))


def shift(geometry: Geometry, by: float) -> Alignment:
    """A map that adds a number to all states."""
    layers, width = geometry.layers, geometry.kv_heads * geometry.head_dim
    place = torch.zeros(layers, PLACES, 1)
    place[:, FIRST] = by
    return Alignment(torch.zeros(layers, 2 * width, 1), place, torch.ones(layers, 1, 2 * width))


def prefill(
    engine: KVEngine, mode: str, chunks: list[list[int]] = CHUNKS, room: int = 0, **numbers: Any
) -> Prefilled:
    return engine.prefill(PREFIX, chunks, SUFFIX, ReuseSettings(mode, **numbers), room)


def logits(engine: KVEngine, mode: str, **numbers: Any) -> torch.Tensor:
    return prefill(engine, mode, **numbers).logits.float()


def by_transformers(engine: KVEngine, ids: list[int]) -> torch.Tensor:
    """The logits that the model gives by itself, with its own attention and masks."""
    return engine.view.original_logits(torch.tensor(ids)).float()


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())
