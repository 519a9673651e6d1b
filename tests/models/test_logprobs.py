"""Log-probabilities and mixed answers, against transformers' own forward pass."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from rag.errors import InputError, ModelError
from rag.models import LLM, Generation, Prompt, Sampling
from rag.models.local.model import LocalLLM
from tests.models import reference

CAPITAL = Prompt("What is the capital of France?", chunks=("Paris is the capital of France.",))
CLOSE = 0.05
"""Natural log units: what bfloat16 leaves of a log probability."""


def remote(*texts: str) -> LLM:
    replies: Iterator[AIMessage] = iter([AIMessage(text) for text in texts])
    return LLM.load(GenericFakeChatModel(messages=replies), base=Path())


def plain(llm: LocalLLM, ids: list[int], count: int) -> list[float]:
    """Log probabilities of the last `count` tokens by transformers alone."""
    import torch

    dtype = torch.float32 if llm.id == "library" else torch.bfloat16
    shares = torch.log_softmax(reference.next_logits(ids, dtype), dim=-1)
    return [float(shares[at - 1, ids[at]]) for at in range(len(ids) - count, len(ids))]


@pytest.fixture(scope="module")
def exact() -> LocalLLM:
    """The model in float32, where what is equal is equal to six digits."""
    import torch

    return reference.by_library(512, torch.float32)


def test_scores_are_those_of_a_plain_forward_pass(exact: LocalLLM) -> None:
    answers = ["Paris", "The capital of France is Paris.", "Berlin is a lovely city", "7"]
    scored = asyncio.run(exact.score(CAPITAL, answers))
    for answer, found in zip(answers, scored, strict=True):
        ids = exact.template.encode(answer)
        expected = plain(exact, [*exact.template.tokenize(CAPITAL).ids, *ids], len(ids))
        assert found.logprobs == pytest.approx(expected, rel=1e-3, abs=1e-4)
        assert found.total == pytest.approx(sum(expected), rel=1e-3)
        assert found.mean == pytest.approx(sum(expected) / len(ids), rel=1e-3)


def test_scores_in_the_models_own_number_format(llm: LocalLLM) -> None:
    (found,) = asyncio.run(llm.score(CAPITAL, ["The capital of France is Paris."]))
    ids = llm.template.encode("The capital of France is Paris.")
    assert found.mean == pytest.approx(
        sum(plain(llm, [*llm.template.tokenize(CAPITAL).ids, *ids], len(ids))) / len(ids), abs=CLOSE
    )


def test_a_model_the_buffer_does_not_know_scores_the_same(
    exact: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["Paris", "The capital of France is Paris."]
    ours = asyncio.run(exact.score(CAPITAL, answers))
    monkeypatch.setattr(exact, "_supporting_engine", lambda context: None)
    for one, other in zip(ours, asyncio.run(exact.score(CAPITAL, answers)), strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, rel=1e-3, abs=1e-4)


def test_what_cannot_be_scored_is_said(llm: LocalLLM) -> None:
    with pytest.raises(InputError, match="empty"):
        asyncio.run(llm.score(CAPITAL, ["Paris", ""]))
    small = LocalLLM("small", llm.model, llm.tokenizer, window=64)
    with pytest.raises(ModelError, match="window of 'small' is 64"):
        asyncio.run(small.score(Prompt("q"), ["word " * 100]))
    assert asyncio.run(llm.score(CAPITAL, [])) == []


@pytest.mark.parametrize("method", ["score", "token_surprisal", "ensemble"])
def test_a_remote_model_returns_no_logprobs(method: str) -> None:
    llm = remote()
    assert not llm.supports_logprobs
    given: dict[str, Any] = {
        "score": lambda: asyncio.run(llm.score(CAPITAL, ["Paris"])),
        "token_surprisal": lambda: asyncio.run(llm.token_surprisal("Paris")),
        "ensemble": lambda: llm.ensemble([CAPITAL], [1.0], Sampling()),
    }
    with pytest.raises(ModelError, match=f"`{method}` needs") as caught:
        given[method]()
    assert caught.value.fix


def test_every_token_has_a_span_and_a_surprisal(exact: LocalLLM) -> None:
    text = "Zürich lies in Switzerland. Bananas repair locomotives."
    found = asyncio.run(exact.token_surprisal(text, after="A lesson:\n"))
    ids = [exact.template.bos, *exact.template.encode("A lesson:\n"), *exact.template.encode(text)]
    assert [-nats for *_, nats in found] == pytest.approx(
        plain(exact, ids, len(found)), rel=1e-3, abs=1e-4
    )
    spans = [(first, end) for first, end, _ in found]
    assert spans == sorted(spans)
    assert (spans[0][0], spans[-1][1]) == (0, len(text))
    assert asyncio.run(exact.token_surprisal("")) == []


def test_surprisal_of_a_text_longer_than_the_window(exact: LocalLLM) -> None:
    small = LocalLLM("small", exact.model, exact.tokenizer, window=48)
    text = "The keeper opens the north lock at six in the morning. " * 6
    found = asyncio.run(small.token_surprisal(text))
    assert len(found) == len(small.template.encode(text)) > 48
    assert all(math.isfinite(nats) and nats >= 0 for *_, nats in found)
    again = [n for first, _, n in found if first >= len(text) // 2]
    assert sum(again) / len(again) < sum(n for *_, n in found[:12]) / 12


def test_the_answer_has_the_logprobs_of_its_tokens(exact: LocalLLM) -> None:
    sampling = Sampling(max_tokens=12, logprobs=True)
    found = asyncio.run(exact.generate(CAPITAL, sampling))
    assert found.logprobs
    assert "".join(piece for piece, _ in found.logprobs) == found.text
    (scored,) = asyncio.run(exact.score(CAPITAL, [found.text]))
    assert [p for _, p in found.logprobs] == pytest.approx(scored.logprobs, rel=1e-2, abs=1e-3)
    assert asyncio.run(exact.generate(CAPITAL, Sampling(max_tokens=2))).logprobs is None
    stopped = Sampling(max_tokens=12, logprobs=True, stop=("Paris",))
    cut = asyncio.run(exact.generate(CAPITAL, stopped))
    assert "".join(piece for piece, _ in cut.logprobs or ()) == cut.text


def ensemble(llm: LLM, prompts: list[Prompt], weights: list[float], **settings: Any) -> Generation:
    async def last() -> Generation:
        pieces = [p async for p in llm.ensemble(prompts, weights, Sampling(**settings))]
        assert isinstance(pieces[-1], Generation)
        assert "".join(p for p in pieces if isinstance(p, str)) == pieces[-1].text
        return pieces[-1]

    return asyncio.run(last())


def test_an_ensemble_of_one_is_that_one(exact: LocalLLM) -> None:
    alone = asyncio.run(exact.generate(CAPITAL, Sampling(max_tokens=12)))
    assert ensemble(exact, [CAPITAL], [0.3], max_tokens=12).text == alone.text
    other = Prompt("Write about bees.")
    assert ensemble(exact, [CAPITAL, other], [1.0, 0.0], max_tokens=12).text == alone.text
    same = ensemble(exact, [CAPITAL, CAPITAL], [0.7, 0.3], max_tokens=12)
    assert same.text == alone.text
    assert same.prompt_tokens == 2 * alone.prompt_tokens


def test_an_ensemble_mixes_probabilities(exact: LocalLLM) -> None:
    prompts = [CAPITAL, Prompt("Name a colour.")]
    (first,) = ensemble(exact, prompts, [3, 1], max_tokens=1, logprobs=True).logprobs or ()
    one, other = (asyncio.run(exact.score(p, [first[0]]))[0].total for p in prompts)
    mixed = 0.75 * math.exp(one) + 0.25 * math.exp(other)
    assert math.exp(first[1]) == pytest.approx(mixed, rel=1e-2)


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [1.0, -1.0], [math.nan, 1.0]])
def test_weights_that_do_not_fit_are_said(llm: LLM, weights: list[float]) -> None:
    with pytest.raises(InputError, match="weights"):
        ensemble(llm, [CAPITAL, CAPITAL], weights)
