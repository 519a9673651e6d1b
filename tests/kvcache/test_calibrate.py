"""Numbers that suit a model, and where they are stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.errors import ConfigError
from rag.kvcache.calibrate import (
    Calibration,
    calibrate,
    divergence,
    greedy,
    likelihood,
    load,
    path_of,
    save,
)
from rag.kvcache.composition import Defaults
from rag.prompts.layout import PromptTokens
from tests.kvcache.helpers import CHUNKS, PREFIX, SUFFIX, make_engine, prefill

NAMES = ["llama", "qwen3", "mistral-sliding", "gemma3", "phi-partial-rotary"]


def test_calibration_finds_numbers_that_do_no_harm() -> None:
    engine = make_engine("llama")
    found = calibrate(
        engine,
        [PromptTokens(PREFIX, CHUNKS, SUFFIX), PromptTokens(PREFIX, CHUNKS[::-1], SUFFIX)],
        0.9,
    )
    assert found.ape_kl <= found.parallel_kl
    assert found.kept >= 0.9
    assert 0 <= found.fraction <= 1
    everything = calibrate(engine, [PromptTokens(PREFIX, CHUNKS, SUFFIX)], 0.9999)
    assert everything.fraction >= found.fraction


@pytest.mark.parametrize("name", NAMES)
def test_likelihood_and_answers_leave_the_prompt_as_it_was(name: str) -> None:
    engine = make_engine(name)
    done = prefill(engine, "full", room=40)
    length = done.buffer.length
    answer = greedy(engine, done, 8, frozenset())
    best = likelihood(engine, done, answer)
    assert done.buffer.length == length
    assert best > likelihood(engine, done, [(token + 1) % 128 for token in answer])
    assert greedy(engine, done, 8, frozenset()) == answer
    assert divergence(done, done) == pytest.approx(0, abs=1e-6)


def test_a_calibration_is_found_again_in_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_CACHE_DIR", str(tmp_path / "cache"))
    found = Calibration(0.7, 0.8, 0.15, 0.96, 0.3, 0.2, (1, 3), 0.2, 0.1, 12)
    assert load("model") is None
    path = save(found, "model")
    assert path == tmp_path / "cache" / "calibration" / "model.json"
    assert load("model") == found
    assert load("another") is None
    assert found.defaults() == Defaults(temperature=0.7, scale=0.8, fraction=0.15, layers=(1, 3))
    path.write_text("{")
    with pytest.raises(ConfigError) as raised:
        load("model")
    assert raised.value.where == str(path_of("model"))
