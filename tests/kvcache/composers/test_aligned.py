"""Chunks mapped to what context makes of them."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from rag.kvcache.align.alignment import Alignment
from rag.kvcache.composition import Defaults
from rag.kvcache.engine import KVEngine
from tests.kvcache.helpers import (
    CHUNKS,
    CONTEXT,
    PREFIX,
    distance,
    make_engine,
    prefill,
    shift,
)


def with_map(engine: KVEngine, alignment: Alignment | None) -> KVEngine:
    engine.store.clear()
    return replace(engine, defaults=Defaults(alignment=alignment))


def test_a_map_that_changes_nothing_is_concat_and_focus(engine: KVEngine) -> None:
    aligned = with_map(engine, shift(engine.view.geometry, 0.0))
    for fraction, mode in ((0.0, "concat"), (0.3, "focus")):
        numbers = {"fraction": fraction, "starts": 0.66} if fraction else {}
        plain = prefill(aligned, mode, **numbers).logits
        assert distance(prefill(aligned, "align", fraction=fraction).logits, plain) < 1e-5


def test_the_first_chunk_stays_as_it_was_computed_and_the_others_are_mapped() -> None:
    engine = make_engine("llama")
    aligned = with_map(engine, shift(engine.view.geometry, 1.0))
    plain = prefill(aligned, "concat").buffer
    for _ in ("computed", "from the store"):
        done = prefill(aligned, "align", fraction=0.0)
        assert done.report.kind == "aligned"
        first, end = len(PREFIX) + len(CHUNKS[0]), len(PREFIX) + len(CONTEXT)
        assert torch.equal(done.buffer.values[:, :, :first], plain.values[:, :, :first])
        assert torch.equal(done.buffer.keys[:, :, :first], plain.keys[:, :, :first])
        change = done.buffer.values[:, :, first:end] - plain.values[:, :, first:end]
        assert torch.allclose(change, torch.ones_like(change), atol=1e-5)


def test_mapped_states_belong_to_their_map() -> None:
    engine = make_engine("llama")
    one, other = (
        with_map(engine, shift(engine.view.geometry, 1.0)),
        with_map(engine, shift(engine.view.geometry, 2.0)),
    )
    prefill(one, "align", fraction=0.0)
    again = prefill(one, "align", fraction=0.0)
    assert [chunk.hit for chunk in again.report.chunks] == [True] * len(CHUNKS)
    changed = prefill(other, "align", fraction=0.0)
    assert [chunk.hit for chunk in changed.report.chunks] == [True] + [False] * (len(CHUNKS) - 1)
    assert distance(changed.logits, again.logits) > 1e-3
    salted = prefill(one.salted("tenant"), "align", fraction=0.0)
    assert not any(chunk.hit for chunk in salted.report.chunks)
    assert torch.equal(salted.logits, again.logits)


def test_chunks_stored_as_they_were_computed_are_mapped_without_computing_them_again() -> None:
    engine = make_engine("llama")
    aligned = with_map(engine, shift(engine.view.geometry, 1.0))
    cold = prefill(aligned, "align", fraction=0.0)
    aligned.store.clear()
    prefill(aligned, "concat")
    for _ in ("mapped", "stored"):
        warm = prefill(aligned, "align", fraction=0.0)
        assert all(chunk.hit for chunk in warm.report.chunks)
        assert warm.report.recomputed == 0
        assert torch.equal(warm.logits, cold.logits)
    keys = aligned.store.keys()
    assert len(keys) == 1 + len(CHUNKS) + len(CHUNKS) - 1  # the prefix, chunks, mapped chunks


def test_a_model_without_a_map_is_composed_unaligned(caplog: pytest.LogCaptureFixture) -> None:
    engine = with_map(make_engine("llama"), None)
    engine.view.id = "a model without a map"
    with caplog.at_level(logging.WARNING):
        done = prefill(engine, "align", fraction=0.0)
        repaired = prefill(engine, "align", fraction=0.3)
    assert done.report.kind == "unrepaired"
    assert repaired.report.kind == "repaired"
    assert torch.equal(done.logits, prefill(engine, "concat").logits)
    assert torch.equal(repaired.logits, prefill(engine, "focus", fraction=0.3, starts=0.66).logits)
    assert [record.getMessage() for record in caplog.records].count(
        "'a model without a map' has no alignment, so chunks are used as they were computed; "
        "fit one: rag cache calibrate"
    ) == 1
