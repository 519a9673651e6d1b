"""Chunks one after another, as they are."""

from __future__ import annotations

from rag.kvcache.engine import KVEngine
from tests.kvcache.helpers import CHUNKS, CONTEXT, prefill


def test_any_order_of_chunks_is_a_hit(engine: KVEngine) -> None:
    prefill(engine, "concat")
    report = prefill(engine, "concat", CHUNKS[::-1]).report
    assert all(chunk.hit for chunk in report.chunks)
    assert (report.reused, report.recomputed) == (len(CONTEXT), 0)
