"""Full prefill by plan is what transformers gives, on every architecture."""

from __future__ import annotations

from rag.kvcache.engine import KVEngine
from tests.kvcache.helpers import ALL, by_transformers, distance, logits


def test_full_is_what_transformers_gives(engine: KVEngine) -> None:
    assert engine.view.refusal is None
    assert distance(logits(engine, "full"), by_transformers(engine, ALL)) < 1e-3
    assert engine.store.keys() == []
