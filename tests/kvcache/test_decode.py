"""Tokens from composed states: the same as transformers gives, whatever is proposed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from rag.kvcache.calibrate import calibrate, divergence, greedy, likelihood
from rag.kvcache.decode import Quotes, decode
from rag.kvcache.engine import KVEngine
from rag.kvcache.keys import Keys
from rag.kvcache.model import ModelView
from rag.kvcache.settings import ReuseSettings
from rag.kvcache.store import KVStore, MemoryTier
from tests.kvcache.models import CONFIGS, make
from tests.kvcache.test_exact import ALL, CHUNKS, PREFIX, SUFFIX

NAMES = ["llama", "qwen3", "mistral-sliding", "gemma3", "phi-partial-rotary"]


def made(name: str, salt: str = "") -> KVEngine:
    store = KVStore([MemoryTier(1 << 28)])
    return KVEngine(ModelView(make(CONFIGS[name]), name), store, Keys(name, "tokens", salt))


@pytest.fixture(params=NAMES, scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[KVEngine]:
    found = made(request.param)
    yield found
    found.store.close()


def answer(engine: KVEngine, mode: str, draft: int = 0, **numbers: Any) -> list[int]:
    settings = ReuseSettings(mode=mode, **numbers)
    done = engine.prefill(PREFIX, CHUNKS, SUFFIX, settings, room=40)
    quoted = [one for chunk in CHUNKS for one in chunk]
    with torch.inference_mode():
        tokens = decode(engine.view, done, lambda x: int(x.argmax()), 30, quoted, draft)
        return list(tokens)


def by_transformers(engine: KVEngine) -> list[int]:
    """Greedy, every token from a prefill of all before it."""
    ids = list(ALL)
    for _ in range(30):
        ids.append(int(engine.view._by_itself(torch.tensor(ids)).argmax()))
    return ids[len(ALL) :]


def test_greedy_tokens_are_those_of_transformers(engine: KVEngine) -> None:
    expected = by_transformers(engine)
    assert answer(engine, "full") == expected
    for mode in ("prefix", "focus"):
        for _ in ("cold", "warm"):
            assert (
                answer(engine, mode, **({"fraction": 1.0} if mode == "focus" else {})) == expected
            )


@pytest.mark.parametrize("mode", ["full", "parallel", "ape", "concat", "focus"])
def test_what_is_proposed_changes_no_token(engine: KVEngine, mode: str) -> None:
    plain = answer(engine, mode)
    for draft in (1, 3, 8):
        assert answer(engine, mode, draft=draft) == plain


def test_what_follows_a_quote_is_proposed() -> None:
    quoted = [1, 2, 3, 4, 5, 9, 2, 3, 7]
    assert Quotes(quoted).after([8, 2, 3], 2) == [7]
    assert Quotes(quoted).after([1, 2, 3], 2) == [4, 5]
    assert Quotes(quoted).after([8, 8], 2) == []
    assert Quotes([]).after([1, 2], 4) == []


def test_a_quoting_answer_takes_fewer_passes() -> None:
    engine = made("llama")
    said = answer(engine, "full")
    passes = [0]
    real = engine.view.step

    def step(*arguments: Any, **fields: Any) -> Any:
        passes[0] += 1
        return real(*arguments, **fields)

    engine.view.step = step  # type: ignore[method-assign]
    done = engine.prefill(PREFIX, CHUNKS, SUFFIX, ReuseSettings(mode="full"), room=40)
    with torch.inference_mode():
        again = list(decode(engine.view, done, lambda x: int(x.argmax()), 30, said, draft=8))
    assert again == said
    assert passes[0] < 15


def test_likelihood_and_answers_leave_the_prompt_as_it_was(engine: KVEngine) -> None:
    done = engine.prefill(PREFIX, CHUNKS, SUFFIX, ReuseSettings(mode="full"), room=40)
    length = done.buffer.length
    said = greedy(engine, done, 8, frozenset())
    best = likelihood(engine, done, said)
    assert done.buffer.length == length
    assert best > likelihood(engine, done, [(one + 1) % 128 for one in said])
    assert greedy(engine, done, 8, frozenset()) == said
    assert divergence(done, done) == pytest.approx(0, abs=1e-6)


def test_calibration_finds_numbers_that_do_no_harm() -> None:
    engine = made("llama")
    found = calibrate(engine, [(PREFIX, CHUNKS, SUFFIX), (PREFIX, CHUNKS[::-1], SUFFIX)], 0.9)
    assert found.ape_kl <= found.parallel_kl
    assert found.kept >= 0.9
    assert 0 <= found.fraction <= 1
    everything = calibrate(engine, [(PREFIX, CHUNKS, SUFFIX)], 0.9999)
    assert everything.fraction >= found.fraction


def test_tenants_share_nothing() -> None:
    first = made("llama")
    second = KVEngine(first.view, first.store, Keys("llama", "tokens", "another"))
    settings = ReuseSettings(mode="focus")
    first.prefill(PREFIX, CHUNKS, SUFFIX, settings)
    mine = first.prefill(PREFIX, CHUNKS, SUFFIX, settings).report
    theirs = second.prefill(PREFIX, CHUNKS, SUFFIX, settings).report
    assert all(chunk.hit for chunk in mine.chunks)
    assert [chunk.why for chunk in theirs.chunks] == ["absent"] * len(CHUNKS)


def test_a_report_adds_up() -> None:
    engine = made("qwen3")
    for hit in (False, True):
        report = engine.prefill(
            PREFIX, CHUNKS, SUFFIX, ReuseSettings(mode="focus", fraction=0.25)
        ).report
        assert report.kind == "repaired"
        assert [chunk.hit for chunk in report.chunks] == [hit] * len(CHUNKS)
        assert report.tokens == len(ALL)
        total = sum(map(len, CHUNKS))
        assert report.reused + report.recomputed == total
        assert report.recomputed == (-(-total // 4) if hit else total)
        assert {"lookup", "compose", "recompute", "first_token"} <= report.milliseconds.keys()


def test_the_store_failing_costs_no_answer() -> None:
    engine = made("llama")

    class Broken(MemoryTier):
        def get(self, key: str) -> Any:
            raise OSError("no device")

    expected = answer(engine, "full")
    engine.store = KVStore([Broken(1 << 20)])
    with pytest.raises(OSError, match="no device"):
        engine.store.tiers[0].get("x")
    assert answer(engine, "focus", fraction=1.0) == expected
