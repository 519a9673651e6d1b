"""Tokens from composed states: the same as transformers gives, whatever is proposed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from rag.kvcache.decode import Quotes, decode
from rag.kvcache.engine import KVEngine
from rag.kvcache.passes import Pass
from tests.kvcache.helpers import ALL, CONTEXT, by_transformers, make_engine, prefill

NAMES = ["llama", "qwen3", "mistral-sliding", "gemma3", "phi-partial-rotary"]


@pytest.fixture(params=NAMES, scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[KVEngine]:
    engine = make_engine(request.param)
    yield engine
    engine.store.close()


def answer(
    engine: KVEngine, mode: str, draft: int = 0, quoted: list[int] = CONTEXT, **numbers: Any
) -> list[int]:
    done = prefill(engine, mode, room=40, **numbers)
    with torch.inference_mode():
        return list(decode(engine.view, done, lambda x: int(x.argmax()), 30, quoted, draft))


def greedy_by_transformers(engine: KVEngine) -> list[int]:
    """Every token from a prefill of all before it."""
    ids = list(ALL)
    for _ in range(30):
        ids.append(int(by_transformers(engine, ids).argmax()))
    return ids[len(ALL) :]


def test_greedy_tokens_are_those_of_transformers(engine: KVEngine) -> None:
    expected = greedy_by_transformers(engine)
    assert answer(engine, "full") == expected
    for _ in ("cold", "warm"):
        assert answer(engine, "prefix") == expected
        assert answer(engine, "focus", fraction=1.0) == expected


@pytest.mark.parametrize("mode", ["full", "parallel", "ape", "concat", "focus"])
def test_proposals_change_no_token(engine: KVEngine, mode: str) -> None:
    plain = answer(engine, mode)
    for draft in (1, 3, 8):
        assert answer(engine, mode, draft=draft) == plain


def test_what_follows_a_quote_is_proposed() -> None:
    quoted = [1, 2, 3, 4, 5, 9, 2, 3, 7]
    assert Quotes(quoted).after([8, 2, 3], 2) == [7]
    assert Quotes(quoted).after([1, 2, 3], 2) == [4, 5]
    assert Quotes(quoted).after([8, 8], 2) == []
    assert Quotes([]).after([1, 2], 4) == []


def test_a_quoting_answer_takes_fewer_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine("llama")
    plain = answer(engine, "full")
    made: list[int] = []
    real = engine.view.steps

    def steps(passes: Sequence[Pass]) -> list[torch.Tensor]:
        made.extend(len(one.ids) for one in passes)
        return real(passes)

    monkeypatch.setattr(engine.view, "steps", steps)
    assert answer(engine, "full", draft=8, quoted=plain) == plain
    assert 0 < len(made) < 15
