"""A pass in slices: the states and logits of the whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rag.kvcache import passes
from rag.kvcache.buffer import KVBuffer
from rag.kvcache.composers.registry import composers
from rag.kvcache.engine import KVEngine
from rag.kvcache.passes import Pass, Slices, run
from rag.kvcache.settings import ReuseSettings
from rag.testing.tiny_models import ARCHITECTURES
from tests.kvcache.helpers import ALL, CHUNKS, PREFIX, SUFFIX, distance, make_engine

MODES = list(composers())


@pytest.fixture(scope="module", params=["llama", "mistral-sliding", "gemma3", "qwen3"])
def engine(request: pytest.FixtureRequest) -> KVEngine:
    return make_engine(request.param)


class Watched:
    """Makes passes, and records how many tokens each had."""

    def __init__(self, engine: KVEngine) -> None:
        self.engine = engine
        self.sizes: list[int] = []

    def __call__(self, some: list[Pass]) -> list[torch.Tensor]:
        self.sizes += [len(one.ids) for one in some]
        return self.engine.view.steps(some)


def prefilled(engine: KVEngine, mode: str) -> tuple[Any, list[int], dict[str, torch.Tensor]]:
    """What prefill returns, the sizes of its passes, and all that it stored."""
    engine.store.clear()
    watched = Watched(engine)
    with torch.inference_mode():
        for _ in ("cold", "warm"):
            work = engine.prefilling(PREFIX, CHUNKS, SUFFIX, ReuseSettings(mode))
            done = run(work, watched)
    (tier,) = engine.store.tiers
    stored = {}
    for key in tier.keys():  # noqa: SIM118 - a tier is no mapping
        entry = tier.get(key)
        assert entry is not None
        stored |= {f"{key} {name}": tensor for name, tensor in entry.tensors.items()}
    return done, watched.sizes, stored


@pytest.mark.parametrize("mode", MODES)
def test_every_composer_in_slices_is_as_in_one(
    engine: KVEngine, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, sizes, stored = prefilled(engine, mode)
    assert max(sizes) > 7
    monkeypatch.setattr(passes, "SLICE", 7)
    sliced, sizes, stored_in_slices = prefilled(engine, mode)
    assert max(sizes) == 7
    length = whole.buffer.length
    assert distance(sliced.logits, whole.logits) < 1e-3
    assert distance(sliced.buffer.values[:, :, :length], whole.buffer.values[:, :, :length]) < 1e-3
    assert [vars(chunk) for chunk in sliced.report.chunks] == [
        vars(chunk) for chunk in whole.report.chunks
    ]
    assert stored.keys() == stored_in_slices.keys()
    for name, tensor in stored.items():
        assert torch.allclose(tensor, stored_in_slices[name], atol=1e-3)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [1, 5, 13])
def test_all_logits_and_keys_in_slices(name: str, size: int) -> None:
    view = make_engine(name).view
    results = []
    with torch.inference_mode():
        for most in (size, len(ALL)):
            keys = view.geometry.empty(len(ALL))
            buffer = KVBuffer(view.geometry, len(ALL))
            ids = torch.tensor(ALL)
            slices = Slices(Pass(ids, torch.arange(len(ALL)), buffer, logits="all", unrotated=keys))
            while slices.rest is not None:
                slices.add(view.forward(slices.take(most)))
            assert len(slices.logits) == len(ALL)
            results.append((slices.logits, keys, buffer.keys))
    for one, other in zip(*results, strict=True):
        assert distance(one, other) < 1e-3


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_a_pass_that_stops_computes_the_layers_before(name: str) -> None:
    view = make_engine(name).view
    buffers = []
    with torch.inference_mode():
        for stop in (None, 2):
            buffer = KVBuffer(view.geometry, len(ALL))
            buffer.values.zero_()
            logits = view.forward(
                Pass(torch.tensor(ALL), torch.arange(len(ALL)), buffer, stop=stop)
            )
            assert len(logits) == (0 if stop else 1)
            buffers.append(buffer.values)
    whole, stopped = buffers
    assert distance(whole[:3], stopped[:3]) == 0
    assert float(stopped[3:].abs().max()) == 0
    assert float(whole[3:].abs().max()) > 0
