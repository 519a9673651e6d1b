"""RoPE whose frequencies depend on the length: right on both sides of the switch, and across it."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, Phi3Config, PretrainedConfig

from rag.errors import ModelError
from rag.kvcache.engine import KVEngine
from rag.kvcache.keys import Keys
from rag.kvcache.opening import open_view
from rag.kvcache.passes import Pass
from rag.kvcache.settings import ReuseSettings
from rag.kvcache.store import KVStore, MemoryTier
from rag.testing.tiny_models import SIZE, rope, tiny_model
from tests.kvcache.helpers import PREFIX, SUFFIX, by_transformers, distance

LIMIT = 64
SHORT = [list(range(10, 30)), list(range(60, 80))]
LONG = [*SHORT, list(range(31, 61))]
ONES = SIZE["hidden_size"] // SIZE["num_attention_heads"] // 2
CHANGING: dict[str, PretrainedConfig] = {
    "dynamic": LlamaConfig(
        **{**SIZE, "max_position_embeddings": LIMIT}, rope_parameters=rope("dynamic", factor=4.0)
    ),
    "longrope": Phi3Config(
        **SIZE,
        original_max_position_embeddings=LIMIT,
        rope_parameters=rope(
            "longrope",
            short_factor=[1.0] * ONES,
            long_factor=[4.0] * ONES,
            original_max_position_embeddings=LIMIT,
            factor=8.0,
        ),
    ),
}


@pytest.fixture(params=CHANGING)
def engine(request: pytest.FixtureRequest) -> KVEngine:
    view = open_view(tiny_model(CHANGING[request.param]), request.param)
    return KVEngine(view, KVStore([MemoryTier(1 << 28)]), Keys(request.param))


def logits(
    engine: KVEngine, mode: str, chunks: list[list[int]], room: int = 0
) -> tuple[torch.Tensor, int]:
    """The first token's logits, and how many chunks were hits."""
    done = engine.prefill(PREFIX, chunks, SUFFIX, ReuseSettings(mode), room)
    return done.logits, sum(chunk.hit for chunk in done.report.chunks)


def whole(chunks: list[list[int]]) -> list[int]:
    return [*PREFIX, *(token for chunk in chunks for token in chunk), *SUFFIX]


def test_the_prompts_straddle_the_switch(engine: KVEngine) -> None:
    assert len(whole(SHORT)) <= LIMIT < len(whole(LONG))
    assert engine.view.geometry.rotation.limit == LIMIT


@pytest.mark.parametrize("mode", ["full", "prefix"])
def test_exact_on_both_sides_whatever_came_before(engine: KVEngine, mode: str) -> None:
    expected = {len(one): by_transformers(engine, whole(one)) for one in (SHORT, LONG)}
    for chunks in (SHORT, LONG, SHORT, LONG):
        assert distance(logits(engine, mode, chunks)[0], expected[len(chunks)]) < 1e-4


def test_a_long_prompt_changes_no_later_short_one(engine: KVEngine) -> None:
    logits(engine, "concat", SHORT)
    before, _ = logits(engine, "concat", SHORT)
    logits(engine, "full", LONG)
    by_transformers(engine, whole(LONG))
    assert torch.equal(logits(engine, "concat", SHORT)[0], before)


def test_states_of_short_prompts_are_not_reused_in_long_ones(engine: KVEngine) -> None:
    logits(engine, "prefix", SHORT)
    assert logits(engine, "prefix", SHORT)[1] == len(SHORT)
    assert logits(engine, "prefix", LONG)[1] == 0
    assert logits(engine, "prefix", LONG)[1] == len(LONG)


def test_an_answer_that_grows_across_the_switch(engine: KVEngine) -> None:
    answer = list(range(5, 45))
    settings = ReuseSettings("full")
    done = engine.prefill(PREFIX, SHORT, SUFFIX, settings, room=len(answer))
    assert done.position < LIMIT < done.position + len(answer)
    with torch.inference_mode():
        one = Pass.consecutive(answer, done.position, done.buffer, done.plan)
        (ours,) = engine.view.steps([one])
    # The last token's logits are those of a model that was given all tokens at once.
    expected = by_transformers(engine, [*whole(SHORT), *answer])
    assert distance(ours[-1], expected) < 1e-4


def test_what_would_be_moved_across_the_switch_is_refused(engine: KVEngine) -> None:
    room = LIMIT - len(whole(SHORT))
    logits(engine, "focus", SHORT, room)
    with pytest.raises(ModelError, match="RoPE changes beyond 64 tokens") as raised:
        logits(engine, "focus", SHORT, room + 1)
    assert "max_tokens" in str(raised.value.fix)


def test_transformers_own_forward_is_left_as_it_was(engine: KVEngine) -> None:
    ids = whole(LONG)
    before = by_transformers(engine, ids)
    logits(engine, "full", SHORT, room=LIMIT)
    assert torch.equal(by_transformers(engine, ids), before)
