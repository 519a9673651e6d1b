"""The engine around the composers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rag.kvcache.store import KVStore, MemoryTier
from tests.kvcache.helpers import ALL, CHUNKS, PREFIX, by_transformers, distance, logits

from tests.kvcache.helpers import make_engine, prefill  # isort: skip


def test_what_was_warmed_is_a_hit() -> None:
    engine = make_engine("llama")
    assert engine.warm(PREFIX, [*CHUNKS, [], CHUNKS[0]]) == len(CHUNKS)
    assert engine.warm(PREFIX, CHUNKS) == 0
    report = prefill(engine, "focus").report
    assert all(chunk.hit for chunk in report.chunks)
    assert "encode" not in report.milliseconds


def test_the_store_failing_costs_no_answer() -> None:
    engine = make_engine("llama")

    class Broken(MemoryTier):
        def get(self, key: str) -> Any:
            raise OSError("no device")

    full = by_transformers(engine, ALL)
    engine.store = KVStore([Broken(1 << 20)])
    with pytest.raises(OSError, match="no device"):
        engine.store.tiers[0].get("x")
    assert distance(logits(engine, "focus", fraction=1.0), full) < 1e-3


def test_no_more_slots_than_there_are() -> None:
    from rag.kvcache.buffer import KVBuffer

    buffer = KVBuffer(make_engine("llama").view.geometry, 3)
    buffer.reserve(torch.arange(2))
    with pytest.raises(ValueError, match="4 slots are needed, the buffer has 3"):
        buffer.prepare(torch.arange(2, 4))
    buffer.prepare(torch.arange(1, 3), rewrite=torch.tensor([1]))
    assert buffer.length == 3
