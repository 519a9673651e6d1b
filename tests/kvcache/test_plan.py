"""Plans that record attention weights, against those that transformers returns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from rag.kvcache.attention import install
from rag.kvcache.buffer import KVBuffer
from rag.kvcache.composers.selection import middle_layers, query_attended
from rag.kvcache.engine import KVEngine
from rag.kvcache.layout import Layout
from rag.kvcache.passes import Pass, run
from rag.kvcache.plan import ChunkAttention, SlotAttention
from tests.kvcache.helpers import ALL, CHUNKS, PREFIX, SUFFIX, distance, make_engine

LAYOUT = Layout(PREFIX, CHUNKS, SUFFIX)
BEFORE = len(ALL) - len(SUFFIX)


@pytest.fixture(params=["llama", "qwen3", "mistral-sliding", "gemma3"], scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[KVEngine]:
    engine = make_engine(request.param)
    yield engine
    engine.store.close()


@pytest.fixture
def weights(engine: KVEngine) -> torch.Tensor:
    """Of full prefill: [layers, tokens, tokens], averaged over heads."""
    model = engine.view.model
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            found = model(torch.tensor([ALL]), use_cache=False, output_attentions=True).attentions
    finally:
        install(model)
    return torch.stack([one[0].mean(0) for one in found])


def filled(engine: KVEngine) -> KVBuffer:
    """The states of everything before the suffix."""
    buffer = KVBuffer(engine.view.geometry, len(ALL))
    with torch.inference_mode():
        engine.view.forward(Pass(torch.tensor(ALL[:BEFORE]), torch.arange(BEFORE), buffer))
    return buffer


def test_attention_of_slots(engine: KVEngine, weights: torch.Tensor) -> None:
    plan = SlotAttention({1, 2})
    with torch.inference_mode():
        one = Pass(LAYOUT.suffix_ids, LAYOUT.suffix_positions, filled(engine), plan)
        logits = engine.view.forward(one)[0]
        plain = Pass(LAYOUT.suffix_ids, LAYOUT.suffix_positions, filled(engine))
        assert distance(logits, engine.view.forward(plain)[0]) < 1e-3
    assert distance(plan.total, weights[[1, 2], BEFORE:].sum((0, 1))) < 1e-4


def test_attention_of_chunks(engine: KVEngine, weights: torch.Tensor) -> None:
    """Chunks 1 and 3 are computed over the states of the others."""
    slots = torch.cat([torch.arange(*LAYOUT.slots[chunk]) for chunk in (1, 3)])
    rows = {1: (0, len(CHUNKS[1])), 3: (len(CHUNKS[1]), len(slots))}
    plan = ChunkAttention({0, 3}, LAYOUT.slots, rows)
    with torch.inference_mode():
        ids = LAYOUT.context_ids[slots - LAYOUT.start]
        engine.view.forward(Pass(ids, slots, filled(engine), plan, rewrite=slots))
    assert set(plan.paid) == {(1, 0), (1, 1), (3, 0), (3, 1), (3, 2), (3, 3)}
    for (chunk, other), paid in plan.paid.items():
        mine, theirs = slice(*LAYOUT.slots[chunk]), slice(*LAYOUT.slots[other])
        assert distance(paid, weights[[0, 3], mine, theirs].sum((0, 2))) < 1e-4


def test_the_question_chooses_what_it_attends_to(engine: KVEngine, weights: torch.Tensor) -> None:
    buffer = filled(engine)
    middle = slice(*middle_layers(len(weights)))
    attended = weights[middle, BEFORE:, len(PREFIX) : BEFORE].sum((0, 1))
    attended[slice(*LAYOUT.bounds[2])] = -1  # not to be repaired
    with torch.inference_mode():
        work = query_attended(engine.view, LAYOUT, buffer, 10, [0, 1, 3], starts=0.0)
        chosen = run(work, engine.view.steps)
    assert chosen.tolist() == sorted(attended.topk(10).indices.tolist())
    assert buffer.length == BEFORE
