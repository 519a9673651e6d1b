"""Parallel encoding is its dense reference."""

from __future__ import annotations

from rag.kvcache.engine import KVEngine
from tests.kvcache.composers.dense import dense_logits
from tests.kvcache.helpers import distance, logits


def test_parallel_is_its_dense_reference(engine: KVEngine) -> None:
    dense = dense_logits(engine)
    for _ in ("cold", "warm"):
        assert distance(logits(engine, "parallel"), dense) < 1e-3
