"""Composed states against full prefill and dense references, on every architecture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from rag.errors import ModelError
from rag.kvcache.engine import KVEngine
from rag.kvcache.keys import Keys
from rag.kvcache.model import ModelView
from rag.kvcache.settings import ReuseSettings
from rag.kvcache.store import KVStore, MemoryTier
from tests.kvcache.models import CONFIGS, REFUSED, make

PREFIX = [1, 5, 9, 17, 33]
CHUNKS = [list(range(10, 31)), list(range(60, 77)), list(range(31, 60)), [7, 7, 8]]
SUFFIX = [3, 99, 98, 97, 50, 4]
ALL = [*PREFIX, *(one for chunk in CHUNKS for one in chunk), *SUFFIX]
EVERYTHING: dict[str, dict[str, Any]] = {
    "epic": {"first": 1000},
    "blend": {"fraction": 1.0},
    "focus": {"fraction": 1.0},
    "random": {"fraction": 1.0},
    "craft": {"alpha": 1e9, "fraction": 1.0},
}


@pytest.fixture(params=CONFIGS, scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[KVEngine]:
    view = ModelView(make(CONFIGS[request.param]), request.param)
    store = KVStore([MemoryTier(1 << 28)])
    yield KVEngine(view, store, Keys(request.param, "tokens"))
    store.close()


def by_transformers(engine: KVEngine, ids: list[int]) -> torch.Tensor:
    """The logits that the model gives by itself, with its own attention and masks."""
    return engine.view._by_itself(torch.tensor(ids)).float()


def logits(engine: KVEngine, mode: str, **numbers: Any) -> torch.Tensor:
    settings = ReuseSettings(mode=mode, **numbers)
    return engine.prefill(PREFIX, CHUNKS, SUFFIX, settings).logits.float()


def differ(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def test_full_is_what_transformers_gives(engine: KVEngine) -> None:
    assert engine.view.refusal is None
    assert differ(logits(engine, "full"), by_transformers(engine, ALL)) < 1e-3


@pytest.mark.parametrize("mode", EVERYTHING)
def test_everything_recomputed_is_full(engine: KVEngine, mode: str) -> None:
    engine.store.clear()
    full = by_transformers(engine, ALL)
    for _ in ("cold", "warm"):
        assert differ(logits(engine, mode, **EVERYTHING[mode]), full) < 1e-3


@pytest.mark.parametrize("by", ["question", "attention"])
def test_craft_behind_another_context(engine: KVEngine, by: str) -> None:
    engine.store.clear()
    engine.prefill(PREFIX, CHUNKS[::-1], SUFFIX, ReuseSettings(mode="craft"))
    full = by_transformers(engine, ALL)
    far = [
        differ(logits(engine, "craft", alpha=alpha, fraction=1.0, by=by), full)
        for alpha in (0.0, 1e9)
    ]
    assert far[0] > far[1]
    assert far[1] < 1e-3


def test_craft_computes_what_was_never_seen_where_it_stands(engine: KVEngine) -> None:
    engine.store.clear()
    full = by_transformers(engine, ALL)
    engine.prefill(PREFIX, CHUNKS[:2], SUFFIX, ReuseSettings(mode="craft"))
    for hits in (2, len(CHUNKS)):
        done = engine.prefill(PREFIX, CHUNKS, SUFFIX, ReuseSettings(mode="craft"))
        assert differ(done.logits.float(), full) < 1e-3
        assert sum(chunk.hit for chunk in done.report.chunks) == hits
        assert done.report.recomputed == sum(map(len, CHUNKS[hits:]))


def test_prefix_is_full_from_cold_to_warm(engine: KVEngine) -> None:
    engine.store.clear()
    full = by_transformers(engine, ALL)
    for hits in (0, len(CHUNKS)):
        done = engine.prefill(PREFIX, CHUNKS, SUFFIX, ReuseSettings(mode="prefix"))
        assert differ(done.logits.float(), full) < 1e-3
        assert sum(chunk.hit for chunk in done.report.chunks) == hits
    other = [CHUNKS[0], CHUNKS[1], CHUNKS[3], CHUNKS[2]]
    done = engine.prefill(PREFIX, other, SUFFIX, ReuseSettings(mode="prefix"))
    assert [chunk.hit for chunk in done.report.chunks] == [True, True, False, False]
    ids = [*PREFIX, *(one for chunk in other for one in chunk), *SUFFIX]
    assert differ(done.logits.float(), by_transformers(engine, ids)) < 1e-3


def test_a_chunk_behind_the_prefix_alone_is_full_in_every_mode(engine: KVEngine) -> None:
    ids = [*PREFIX, *CHUNKS[0], *SUFFIX]
    full = by_transformers(engine, ids)
    for mode in ("parallel", "concat", "ape", "epic", "focus", "craft"):
        settings = ReuseSettings(mode=mode, temperature=1.0, scale=1.0)
        for _ in ("cold", "warm"):
            found = engine.prefill(PREFIX, CHUNKS[:1], SUFFIX, settings)
            assert differ(found.logits.float(), full) < 1e-3, mode


class Dense:
    """Attention written down as the formula says, with every mask explicit.

    Args:
        block: For each token the chunk that it belongs to; -1: prefix; -2: suffix.
        positions: Of the tokens.
        temperature: T.
        scale: S.
    """

    def __init__(
        self, block: list[int], positions: list[int], windows: list[int | None], t: float, s: float
    ) -> None:
        self.block, self.positions = torch.tensor(block), torch.tensor(positions)
        self.windows, self.t, self.s = windows, t, s

    def __call__(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: Any,
        scaling: float | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        scores = query @ key.transpose(-1, -2) * (scaling or query.shape[-1] ** -0.5)
        order = torch.arange(len(self.block))
        sees = order[:, None] >= order[None]
        mine, theirs = self.block[:, None], self.block[None]
        sees &= (theirs == -1) | (mine == theirs) | (mine == -2)
        window = self.windows[module.layer_idx]
        if window is not None:
            sees &= self.positions[:, None] - self.positions[None] < window
        context = ((mine == -2) & (theirs >= 0)).expand(scores.shape[-2:])
        scores = scores.masked_fill(~sees, float("-inf"))
        weights = torch.zeros_like(scores)
        rows = (self.block == -2).nonzero()[:, 0]
        plain = (self.block != -2).nonzero()[:, 0]
        weights[..., plain, :] = torch.softmax(scores[..., plain, :], -1)
        for row in rows.tolist():
            here = scores[..., row, :]
            among = context[row]
            c, o = here[..., among] / self.t, here[..., ~among]
            z_c, z_o = self.s * c.logsumexp(-1), o.logsumexp(-1)
            w_c = torch.sigmoid(z_c - z_o)[..., None].nan_to_num()
            weights[..., row, among] = w_c * torch.softmax(c, -1).nan_to_num()
            weights[..., row, ~among] = (1 - w_c) * torch.softmax(o, -1)
        return (weights @ value).transpose(1, 2).contiguous(), None


@pytest.mark.parametrize(
    ("mode", "t", "s"), [("parallel", 1.0, 1.0), ("ape", 0.7, 0.8), ("ape", 1.0, 1.0)]
)
def test_parallel_and_ape_are_their_dense_references(
    engine: KVEngine, mode: str, t: float, s: float
) -> None:
    from transformers import AttentionInterface

    block = [-1] * len(PREFIX)
    positions = list(range(len(PREFIX)))
    for number, chunk in enumerate(CHUNKS):
        block += [number] * len(chunk)
        positions += range(len(PREFIX), len(PREFIX) + len(chunk))
    behind = len(PREFIX) + max(len(chunk) for chunk in CHUNKS)
    block += [-2] * len(SUFFIX)
    positions += range(behind, behind + len(SUFFIX))
    view = engine.view
    AttentionInterface.register("dense", Dense(block, positions, view.windows, t, s))
    view.model.set_attn_implementation("dense")
    try:
        with torch.inference_mode():
            dense = view.model(
                torch.tensor([ALL]), position_ids=torch.tensor([positions]), use_cache=False
            ).logits[0, -1]
    finally:
        from rag.kvcache.attention import install

        install(view.model)
    found = logits(engine, mode, temperature=t, scale=s)
    assert differ(found, dense.float()) < 1e-3


def test_packed_states_are_those_of_one_by_one(engine: KVEngine) -> None:
    from rag.kvcache.encode import encode_chunks, encode_prefix

    _, *prefix = encode_prefix(engine.view, PREFIX)
    together = {i: (k, v) for i, k, v, _ in encode_chunks(engine.view, tuple(prefix), CHUNKS)}
    for number, chunk in enumerate(CHUNKS):
        ((_, keys, values, _),) = encode_chunks(engine.view, tuple(prefix), [chunk])
        assert differ(together[number][0], keys) < 1e-4
        assert differ(together[number][1], values) < 1e-4


def test_any_order_of_chunks_is_a_hit(engine: KVEngine) -> None:
    engine.store.clear()
    engine.prefill(PREFIX, CHUNKS, SUFFIX, ReuseSettings(mode="concat"))
    done = engine.prefill(PREFIX, CHUNKS[::-1], [4, 4], ReuseSettings(mode="concat"))
    assert all(chunk.hit for chunk in done.report.chunks)
    assert done.report.reused == sum(map(len, CHUNKS))
    assert done.report.recomputed == 0


@pytest.mark.parametrize("name", ["llama", "mistral-sliding", "gemma3"])
def test_a_prepared_model_attends_as_before_where_nothing_is_composed(name: str) -> None:
    ids = torch.tensor([[0, 0, 0, *ALL], [*ALL, *PREFIX[:3]]])
    padding = torch.tensor([[0] * 3 + [1] * len(ALL), [1] * ids.shape[1]])
    model = make(CONFIGS[name])
    with torch.inference_mode():
        before = model(ids, attention_mask=padding).logits
        again = ModelView(model, name)
        second = ModelView(model, name)
        assert again.refusal is second.refusal is None
        after = model(ids, attention_mask=padding).logits
    assert differ(before[:, -1], after[:, -1]) < 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_composed_is_refused_by_name(name: str) -> None:
    view = ModelView(make(REFUSED[name]), name)
    store = KVStore([MemoryTier(1 << 24)])
    engine = KVEngine(view, store, Keys(name, "tokens"))
    with pytest.raises(ModelError, match=f"'{name}' .* cannot reuse chunks: .*"):
        logits(engine, "focus")
    if view.attends:
        full = by_transformers(engine, ALL)
        for mode in ("full", "prefix", "prefix"):
            assert differ(logits(engine, mode), full) < 1e-3
    store.close()


def test_rope_that_changes_with_the_length_is_refused_beyond_it() -> None:
    view = ModelView(make(CONFIGS["llama-dynamic-rope"]), "dynamic")
    view.compose_or_refuse(512)
    with pytest.raises(ModelError, match="changes beyond 512 tokens"):
        view.compose_or_refuse(513)
