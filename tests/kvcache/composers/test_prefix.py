"""Prefix caching: exact, and as long as the beginning is the same."""

from __future__ import annotations

from rag.kvcache.engine import KVEngine
from tests.kvcache.helpers import ALL, CHUNKS, PREFIX, SUFFIX, by_transformers, distance, prefill


def test_prefix_is_full_from_cold_to_warm(engine: KVEngine) -> None:
    full = by_transformers(engine, ALL)
    for hits in (0, len(CHUNKS)):
        done = prefill(engine, "prefix")
        assert distance(done.logits.float(), full) < 1e-3
        assert sum(chunk.hit for chunk in done.report.chunks) == hits


def test_only_the_common_beginning_is_reused(engine: KVEngine) -> None:
    prefill(engine, "prefix")
    other = [CHUNKS[0], CHUNKS[1], CHUNKS[3], CHUNKS[2]]
    done = prefill(engine, "prefix", other)
    assert [chunk.hit for chunk in done.report.chunks] == [True, True, False, False]
    ids = [*PREFIX, *(token for chunk in other for token in chunk), *SUFFIX]
    assert distance(done.logits.float(), by_transformers(engine, ids)) < 1e-3
