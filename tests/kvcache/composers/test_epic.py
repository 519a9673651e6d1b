"""EPIC: the first tokens of each chunk."""

from __future__ import annotations

from rag.kvcache.engine import KVEngine
from tests.kvcache.helpers import CHUNKS, prefill


def test_the_first_tokens_of_all_chunks_but_the_first(engine: KVEngine) -> None:
    for _ in ("cold", "warm"):
        report = prefill(engine, "epic", first=5).report
    assert [chunk.recomputed for chunk in report.chunks] == [
        0,
        *(min(5, len(c)) for c in CHUNKS[1:]),
    ]
