"""Cache-Craft: chunks as computed behind other chunks."""

from __future__ import annotations

import json

import pytest
import torch

from rag.kvcache.composers.craft import overhead
from rag.kvcache.engine import KVEngine
from rag.kvcache.store import Entry
from tests.kvcache.helpers import (
    ALL,
    CHUNKS,
    by_transformers,
    distance,
    logits,
    prefill,
)


@pytest.mark.parametrize("by", ["question", "attention"])
def test_behind_another_context(engine: KVEngine, by: str) -> None:
    prefill(engine, "craft", CHUNKS[::-1])
    full = by_transformers(engine, ALL)
    far = [
        distance(logits(engine, "craft", alpha=alpha, fraction=1.0, by=by), full)
        for alpha in (0.0, 1e9)
    ]
    assert far[0] > far[1]
    assert far[1] < 1e-3


def test_a_chunk_without_states_is_computed_where_it_stands(engine: KVEngine) -> None:
    full = by_transformers(engine, ALL)
    prefill(engine, "craft", CHUNKS[:2])
    for hits in (2, len(CHUNKS)):
        done = prefill(engine, "craft")
        assert distance(done.logits.float(), full) < 1e-3
        assert sum(chunk.hit for chunk in done.report.chunks) == hits
        assert done.report.recomputed == sum(map(len, CHUNKS[hits:]))


def variant(before: list[tuple[str, int]], inter: list[float], tokens: int = 4) -> Entry:
    """A variant whose tokens pay so much attention to each earlier chunk, in all."""
    paid = torch.tensor(inter)[:, None].expand(-1, tokens) / tokens
    meta = {"before": json.dumps(before), "intra": "8.0", "rate": "0.5"}
    return Entry(tuple(range(tokens)), {"inter": paid}, meta)


def test_overhead_grows_with_what_is_lost_and_new() -> None:
    a, b, c = ("a", 4), ("b", 4), ("c", 4)
    entry = variant([a, b], [6.0, 2.0])
    assert overhead(entry, [a, b], 1.0) == 0
    without_b, without_a = overhead(entry, [a], 1.0), overhead(entry, [b], 1.0)
    assert 0 < without_b < without_a  # a got more attention
    assert overhead(entry, [a, b, c], 1.0) > 0  # as published it would be 0
    assert overhead(entry, [b, a], 1.0) > overhead(entry, [a, b, c], 1.0)  # fully reordered
    assert overhead(entry, [b, a], 0.5) == pytest.approx(overhead(entry, [b, a], 1.0) / 2)
    assert overhead(entry, [c], 1e9) == 1
    assert overhead(variant([], []), [a], 1.0) > 0
    assert overhead(variant([], []), [], 1.0) == 0
