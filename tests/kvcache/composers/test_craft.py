"""Cache-Craft: chunks as computed behind other chunks."""

from __future__ import annotations

import pytest
import torch

from rag.kvcache.composers.variants import Variant, VariantIndex, contexts
from rag.kvcache.composition import Composition
from rag.kvcache.engine import KVEngine
from rag.kvcache.layout import Layout
from rag.kvcache.passes import Pass
from rag.kvcache.prefilled import Prefilled
from rag.kvcache.report import Report
from rag.kvcache.settings import ReuseSettings
from tests.kvcache.helpers import (
    ALL,
    CHUNKS,
    PREFIX,
    SUFFIX,
    by_transformers,
    distance,
    logits,
    make_engine,
    prefill,
)


@pytest.fixture(scope="module")
def llama() -> KVEngine:
    return make_engine("llama")


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


def variant(before: list[tuple[str, int]], inter: list[float], error: float = 0.0) -> Variant:
    """A variant of four tokens that pay so much attention to each earlier chunk, in all."""
    return Variant("key", tuple(before), tuple(inter), 8.0, error)


def test_overhead_grows_with_what_is_lost_and_new() -> None:
    a, b, c = ("a", 4), ("b", 4), ("c", 4)
    entry = variant([a, b], [6.0, 2.0])
    assert entry.overhead(4, [a, b], 1.0) == 0
    without_b, without_a = entry.overhead(4, [a], 1.0), entry.overhead(4, [b], 1.0)
    assert 0 < without_b < without_a  # a got more attention
    assert entry.overhead(4, [a, b, c], 1.0) > 0  # as published it would be 0
    assert entry.overhead(4, [b, a], 1.0) > entry.overhead(4, [a, b, c], 1.0)  # fully reordered
    assert entry.overhead(4, [b, a], 0.5) == pytest.approx(entry.overhead(4, [b, a], 1.0) / 2)
    assert entry.overhead(4, [c], 1e9) == 1
    assert variant([], []).overhead(4, [a], 1.0) > 0
    assert variant([], []).overhead(4, [], 1.0) == 0
    assert variant([a], [1.0], error=0.25).overhead(4, [a], 1.0) == 0.25


def entries(engine: KVEngine) -> int:
    """Stored states of chunks, without the prefix and the lists of variants."""
    (tier,) = engine.store.tiers
    stored = [tier.get(key) for key in tier.keys()]  # noqa: SIM118 - no mapping
    return sum(one is not None and "inter" in one.tensors for one in stored)


def repaired(done: Prefilled) -> int:
    return sum(chunk.recomputed for chunk in done.report.chunks if chunk.hit)


@pytest.mark.parametrize("by", ["question", "attention"])
def test_what_was_repaired_is_a_variant_and_is_not_repaired_again(llama: KVEngine, by: str) -> None:
    llama.store.clear()
    orders = ([0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1])
    settings = {"by": by, "fraction": 1.0, "write_back": 0.0}
    counts = []
    for order in orders:
        chunks = [CHUNKS[one] for one in order]
        first = prefill(llama, "craft", chunks, **settings)
        assert (repaired(first) > 0) == bool(counts)
        assert repaired(prefill(llama, "craft", chunks, **settings)) == 0
        counts.append(entries(llama))
    assert counts == sorted(counts)
    assert 2 * len(CHUNKS) <= counts[-1] <= 3 * len(CHUNKS)  # three of each at most


@pytest.mark.parametrize("alpha", [1.0, 3.0])
def test_a_prompt_that_comes_again_becomes_right(llama: KVEngine, alpha: float) -> None:
    """A budget that is too small is made up for later."""
    llama.store.clear()
    prefill(llama, "craft", CHUNKS[::-1])
    full = by_transformers(llama, ALL)
    settings = {"alpha": alpha, "fraction": 0.2, "write_back": 0.0}
    done = [prefill(llama, "craft", **settings) for _ in range(16)]
    assert repaired(done[1]) > 0
    assert repaired(done[-1]) == 0
    assert distance(done[-1].logits, full) < 0.3 * distance(done[0].logits, full)


def test_a_context_that_comes_again_is_stored_as_repaired(llama: KVEngine) -> None:
    """However little of each chunk is wrong: else it would be repaired each time."""
    llama.store.clear()
    prefill(llama, "craft", [CHUNKS[1], CHUNKS[0]])
    settings = {"alpha": 1.0, "write_back": 0.99}
    # The third is new, and behind others that are wrong.
    prefill(llama, "craft", CHUNKS[:3], fraction=0.0, **settings)
    done = [prefill(llama, "craft", CHUNKS[:3], fraction=1.0, **settings) for _ in range(2)]
    assert done[0].report.chunks[2].recomputed > 0
    assert done[1].report.chunks[2].recomputed == 0


def test_little_that_is_wrong_is_not_written_back(llama: KVEngine) -> None:
    llama.store.clear()
    prefill(llama, "craft", CHUNKS[::-1])
    before = entries(llama)
    for _ in range(2):
        assert repaired(prefill(llama, "craft", fraction=1.0, write_back=1.0)) > 0
    assert entries(llama) == before


def test_a_chunk_three_times(engine: KVEngine) -> None:
    chunks = [CHUNKS[0], CHUNKS[1], CHUNKS[0], CHUNKS[0]]
    ids = [*PREFIX, *(token for chunk in chunks for token in chunk), *SUFFIX]
    full = by_transformers(engine, ids)
    for order in (chunks, chunks[::-1], chunks, chunks):
        done = prefill(engine, "craft", order, alpha=1e9, fraction=1.0)
    assert distance(done.logits.float(), full) < 1e-3
    assert repaired(done) == 0


def test_copies_of_a_chunk_are_told_apart() -> None:
    before = contexts(["a", "b", "a", "a"], [1, 2, 1, 1])
    assert before[3] == [("a", 1), ("b", 2), ("a 2", 1)]
    assert before[0] == []


def test_a_new_chunk_sees_the_repaired_others_in_one_pass(engine: KVEngine) -> None:
    prefill(engine, "craft", [CHUNKS[1], CHUNKS[0]])
    full = by_transformers(engine, ALL)
    made = []
    steps = engine.view.steps

    def counted(passes: list[Pass]) -> list[torch.Tensor]:
        made.extend(one for one in passes if one.stop is None)
        return steps(passes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.view, "steps", counted)
        done = prefill(engine, "craft", alpha=1e9, fraction=1.0)
    assert len(made) == 1
    assert [chunk.hit for chunk in done.report.chunks] == [True, True, False, False]
    assert distance(done.logits.float(), full) < 1e-3
    # Nothing is wrong in the states that were kept of it.
    again = prefill(engine, "craft", alpha=1e9, fraction=1.0)
    assert distance(again.logits.float(), full) < 1e-3
    assert repaired(again) == 0


def test_what_a_new_chunk_took_over_from_wrong_ones_is_remembered(llama: KVEngine) -> None:
    llama.store.clear()
    prefill(llama, "craft", [CHUNKS[1], CHUNKS[0]])
    prefill(llama, "craft", CHUNKS[:3], fraction=0.0)
    full = by_transformers(
        llama, [*PREFIX, *(token for chunk in CHUNKS[:3] for token in chunk), *SUFFIX]
    )
    done = prefill(llama, "craft", CHUNKS[:3], alpha=1e9, fraction=1.0)
    assert done.report.chunks[2].recomputed == len(CHUNKS[2])
    assert distance(done.logits, full) < 1e-3


def test_only_what_the_question_focuses_on(llama: KVEngine) -> None:
    llama.store.clear()
    prefill(llama, "craft", CHUNKS[::-1])
    counts = []
    for share in (0.0, 0.5, 1.0):
        done = prefill(llama, "craft", by="attention", alpha=3.0, focused=share, write_back=1.0)
        counts.append(sum(chunk.recomputed > 0 for chunk in done.report.chunks))
    assert counts[0] == 0 < counts[1] < counts[2]


def test_every_look_up_of_a_warm_prompt_is_a_hit(llama: KVEngine) -> None:
    llama.store.clear()
    prefill(llama, "craft")
    prefill(llama, "craft")
    (before,) = llama.store.stats().values()
    prefill(llama, "craft")
    (after,) = llama.store.stats().values()
    assert after["misses"] == before["misses"]
    assert after["hits"] == before["hits"] + 1 + 2 * len(CHUNKS)


def test_a_variant_that_was_evicted_is_computed_again(llama: KVEngine) -> None:
    llama.store.clear()
    prefill(llama, "craft")
    (tier,) = llama.store.tiers
    for key in tier.keys():  # noqa: SIM118 - no mapping
        entry = tier.get(key)
        if entry is not None and entry.ids == tuple(CHUNKS[2]) and "inter" in entry.tensors:
            tier.delete(key)
    for hits in (3, 4):
        done = prefill(llama, "craft")
        assert sum(chunk.hit for chunk in done.report.chunks) == hits
        assert distance(done.logits, by_transformers(llama, ALL)) < 1e-3


def test_the_variant_of_least_worth_is_replaced(llama: KVEngine) -> None:
    llama.store.clear()
    layout = Layout(PREFIX, CHUNKS[:1], SUFFIX)
    report = Report("craft", "repaired")
    index = VariantIndex(Composition(llama.view, llama.store, llama.keys, layout, report), 0)
    keys = [llama.keys.of(str(number), [], []) for number in range(4)]
    made = [Variant(key, (), (), 1.0) for key in keys]
    for one in made[:3]:
        index.keep(one, 3, 1.0)
    for one, saved in zip(made, (10, 5, 20), strict=False):
        index.used(one, saved)
    index.keep(made[3], 3, 1.0)
    assert [one.key for one in index.variants] == [keys[0], keys[2], keys[3]]
    assert index.variants[-1].worth == 5  # it is not the next to go for being new
    index.keep(Variant(keys[2], (), (), 1.0, error=0.5), 3, 1.0)
    assert [(one.worth, one.error) for one in index.variants] == [(10, 0), (20, 0.5), (5, 0)]


def test_a_chunk_is_warmed_behind_related_ones(llama: KVEngine) -> None:
    llama.store.clear()
    *related, chunk = CHUNKS[:3]
    settings = ReuseSettings("craft")
    assert llama.warm_behind(PREFIX, [*related, []], chunk, SUFFIX, settings)
    assert not llama.warm_behind(PREFIX, related, chunk, SUFFIX, settings)
    report = prefill(llama, "craft").report
    assert [one.hit for one in report.chunks] == [True, True, True, False]
    assert repaired(prefill(llama, "craft", CHUNKS[:3])) == 0
    assert llama.warm_behind(PREFIX, related[:1], chunk, SUFFIX, settings)
    with pytest.raises(NotImplementedError):
        llama.warm_behind(PREFIX, related, chunk, SUFFIX, ReuseSettings("focus"))
