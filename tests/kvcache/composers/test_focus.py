"""The question chooses what is recomputed."""

from __future__ import annotations

import pytest

from rag.kvcache.engine import KVEngine
from tests.kvcache.helpers import ALL, CONTEXT

from tests.kvcache.helpers import by_transformers, distance, logits, prefill  # isort: skip


@pytest.mark.parametrize("starts", [0.0, 0.5, 1.0])
def test_the_budget_is_kept_and_the_first_chunk_left_alone(engine: KVEngine, starts: float) -> None:
    for _ in ("cold", "warm"):
        report = prefill(engine, "focus", fraction=0.25, starts=starts).report
    assert report.recomputed == -(-len(CONTEXT) // 4)
    assert report.chunks[0].recomputed == 0


def test_the_budget_goes_to_first_tokens_where_all_of_it_is_theirs(engine: KVEngine) -> None:
    for _ in ("cold", "warm"):
        # 9 tokens: 3 of each chunk but the first.
        focus = prefill(engine, "focus", fraction=9 / len(CONTEXT), starts=1.0)
    epic = prefill(engine, "epic", first=3)
    assert [chunk.recomputed for chunk in focus.report.chunks] == [0, 3, 3, 3]
    assert distance(focus.logits, epic.logits) < 1e-5


def test_calibrated_numbers_are_the_default(engine: KVEngine) -> None:
    prefill(engine, "focus")
    report = prefill(engine, "focus").report
    assert report.recomputed == -(-len(CONTEXT) // 5)


def test_repair_brings_it_nearer(engine: KVEngine) -> None:
    full = by_transformers(engine, ALL)
    near = distance(logits(engine, "focus", fraction=0.9), full)
    assert near < distance(logits(engine, "concat"), full)
