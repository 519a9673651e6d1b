"""The map of alignment: fitted, stored, refused."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rag.errors import ConfigError
from rag.kvcache.align import file
from rag.kvcache.align.alignment import Alignment, flatten, places, unflatten
from rag.kvcache.align.fit import Fit, fit_alignment, states_twice
from rag.kvcache.calibrate import Calibration, defaults_for, save
from rag.kvcache.composition import Defaults
from rag.kvcache.engine import KVEngine
from rag.kvcache.layout import Layout
from rag.kvcache.passes import run
from rag.testing.tiny_models import ARCHITECTURES
from tests.kvcache.helpers import CHUNKS, PREFIX, SUFFIX, make_engine, prefill

Parts = tuple[list[int], list[list[int]], list[int]]


def prompts(count: int, seed: int) -> list[Parts]:
    """Random prompts of five chunks."""
    rng = random.Random(seed)  # noqa: S311 - test data, no secret
    chunks = [[[rng.randrange(3, 128) for _ in range(24)] for _ in range(5)] for _ in range(count)]
    return [(PREFIX, one, SUFFIX) for one in chunks]


def error(engine: KVEngine, alignment: Alignment | None, seed: int) -> float:
    """Squared distance of chunks' states from those in context, on other prompts."""
    total = 0.0
    for prefix, chunks, _ in prompts(4, seed):
        with torch.inference_mode():
            pairs = run(states_twice(engine.view, Layout(prefix, chunks, ())), engine.view.steps)
        for alone, context in pairs[1:]:
            states = alone if alignment is None else alignment.apply(*alone)
            total += float((flatten(*states) - flatten(*context)).square().sum())
    return total


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_fitted_map_lowers_the_error_on_other_prompts(name: str) -> None:
    engine = make_engine(name)
    alignment = fit_alignment(engine.view, prompts(20, 0), rank=16)
    assert error(engine, alignment, 1) < 0.97 * error(engine, None, 1)


def test_fitting_is_deterministic_and_a_higher_rank_fits_better() -> None:
    engine = make_engine("llama")
    one, again = (fit_alignment(engine.view, prompts(6, 0), rank=8) for _ in range(2))
    assert one.digest == again.digest
    fine = fit_alignment(engine.view, prompts(6, 0), rank=32)
    assert (one.rank, fine.rank) == (8, 32)
    assert error(engine, fine, 0) < error(engine, one, 0)


def test_the_first_chunk_is_computed_as_in_context() -> None:
    engine = make_engine("qwen3")
    with torch.inference_mode():
        pairs = run(states_twice(engine.view, Layout(PREFIX, CHUNKS, ())), engine.view.steps)
    far = [float((flatten(*a) - flatten(*b)).abs().max()) for a, b in pairs]
    assert far[0] < 1e-4
    assert min(far[1:]) > 1e-2


def test_a_linear_change_is_found_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    fit, matrix = Fit(2, 8), torch.randn(2, 16, 3, generator=generator)
    out = torch.randn(2, 3, 16, generator=generator)
    bias = torch.randn(16, generator=generator)
    for _ in range(20):
        alone = torch.randn(2, 2, 30, 4, generator=generator)
        values = torch.randn(2, 2, 30, 4, generator=generator)
        states = flatten(alone, values)
        change = states @ matrix @ out + places(30)[:, 2:3] * bias
        fit.add((alone, values), unflatten(states + change, alone))
    found = fit.solve(rank=4, ridge=1e-9)
    states = torch.randn(2, 2, 30, 4, generator=generator), torch.zeros(2, 2, 30, 4)
    expected = flatten(*states) @ (torch.eye(16) + matrix @ out) + places(30)[:, 2:3] * bias
    assert torch.allclose(flatten(*found.apply(*states)), expected, atol=1e-3)


def test_flattened_states_come_back() -> None:
    keys, values = torch.randn(3, 2, 5, 4), torch.randn(3, 2, 5, 4)
    states = flatten(keys, values)
    assert torch.equal(
        states[1, 2], torch.cat([keys[1, :, 2].flatten(), values[1, :, 2].flatten()])
    )
    back = unflatten(states, keys)
    assert torch.equal(back[0], keys)
    assert torch.equal(back[1], values)


@pytest.mark.parametrize("tokens", [1, 3, 8, 20])
def test_the_first_tokens_of_a_chunk_have_features_of_their_own(tokens: int) -> None:
    found = places(tokens)
    assert found[:, :8].sum() == min(tokens, 8)
    assert torch.equal(found[:, 8], torch.ones(tokens))
    assert len(found.unique(dim=0)) == tokens


def test_prompts_of_one_chunk_fit_nothing() -> None:
    engine = make_engine("llama")
    with pytest.raises(ValueError, match="two chunks"):
        fit_alignment(engine.view, [(PREFIX, CHUNKS[:1], SUFFIX)])


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[KVEngine, Alignment, Path]:
    monkeypatch.setenv("RAG_CACHE_DIR", str(tmp_path))
    engine = make_engine("llama")
    alignment = fit_alignment(engine.view, prompts(3, 0), rank=4)
    return engine, alignment, file.save(alignment, "model")


def test_a_map_is_loaded_as_it_was_saved(stored: tuple[KVEngine, Alignment, Path]) -> None:
    engine, alignment, _ = stored
    assert file.load("another", engine.view.geometry) is None
    found = file.load("model", engine.view.geometry)
    assert found is not None
    assert found.digest == alignment.digest
    both = [
        prefill(replace(engine, defaults=Defaults(alignment=one)), "align", fraction=0.0).logits
        for one in (alignment, found)
    ]
    assert torch.equal(*both)


def test_a_map_of_another_model_is_refused(stored: tuple[KVEngine, Alignment, Path]) -> None:
    engine, _, path = stored
    path.rename(file.path_of("another"))
    with pytest.raises(ConfigError, match="it was fitted for another one"):
        file.load("another", engine.view.geometry)
    geometry = make_engine("llama-mha").view.geometry
    file.path_of("another").rename(path)
    with pytest.raises(ConfigError, match="do not fit the model's states"):
        file.load("model", geometry)


@pytest.mark.parametrize("damage", ["truncated", "changed", "no tensors", "empty"])
def test_a_damaged_map_is_refused(stored: tuple[KVEngine, Alignment, Path], damage: str) -> None:
    engine, _, path = stored
    data = path.read_bytes()
    changed = bytearray(data)
    changed[-5] ^= 1
    damaged = {
        "truncated": data[:-100],
        "changed": bytes(changed),
        "no tensors": b"\x02\x00\x00\x00\x00\x00\x00\x00{}",
        "empty": b"",
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(ConfigError) as raised:
        file.load("model", engine.view.geometry)
    assert raised.value.where == str(path)
    assert "rag cache calibrate" in str(raised.value)


def test_a_model_whose_map_is_refused_is_composed_unaligned_with_a_warning(
    stored: tuple[KVEngine, Alignment, Path], caplog: pytest.LogCaptureFixture
) -> None:
    engine, alignment, path = stored
    numbers = Calibration(0.7, 0.8, 0.15, 0.96, 0.3, 0.2, (1, 3), 0.2, 0.1, 12)
    geometry = engine.view.geometry
    alone = defaults_for("model", geometry)
    assert alone.alignment is not None
    assert alone.alignment.digest == alignment.digest
    save(numbers, "model")
    both = defaults_for("model", geometry)
    assert (both.fraction, both.layers) == (0.15, (1, 3))
    assert both.alignment is not None
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert defaults_for("model", geometry) == numbers.defaults()
    (record,) = caplog.records
    assert "composed without alignment" in record.getMessage()
    assert str(path) in record.getMessage()


def test_saving_that_is_interrupted_leaves_the_old_map(
    stored: tuple[KVEngine, Alignment, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, alignment, path = stored
    before = path.read_bytes()

    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    other = fit_alignment(engine.view, prompts(3, 7), rank=4)
    with pytest.raises(KeyboardInterrupt):
        file.save(other, "model")
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    found = file.load("model", engine.view.geometry)
    assert found is not None
    assert found.digest == alignment.digest
