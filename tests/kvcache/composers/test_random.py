"""Tokens chosen at random."""

from __future__ import annotations

from math import ceil

from rag.kvcache.engine import KVEngine
from tests.kvcache.helpers import CONTEXT, logits, prefill


def test_a_share_of_the_context_by_seed(engine: KVEngine) -> None:
    one, same, other = (logits(engine, "random", fraction=0.3, seed=seed) for seed in (1, 1, 2))
    assert prefill(engine, "random", fraction=0.3).report.recomputed == ceil(0.3 * len(CONTEXT))
    assert one.equal(same)
    assert not one.equal(other)
