"""Models of providers by their own clients, over HTTP: nothing unasked, reasoning apart."""

from __future__ import annotations

import asyncio
import math
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from pydantic import BaseModel

from rag.errors import ModelError
from rag.flow import Flow
from rag.flow.run.events import Warned
from rag.models import LLM, Generation, Prompt, Sampling, choose, structured
from rag.operators import (
    ConfidenceJudge,
    Generate,
    GradeDocuments,
    NextSentence,
    Rewrite,
    VerifyLLM,
)
from tests.connections.provider import RefusalError, serving

DOCUMENTS = [Document(page_content=f"The lock keeper {n} opens the lock.") for n in range(8)]


def openai(address: str, model: str, **more: Any) -> LLM:
    use = {"use": "langchain_openai.ChatOpenAI", "base_url": f"{address}/v1", "api_key": "none"}
    return LLM.load({**use, "model": model, "max_retries": 0, **more}, base=Path())


def run(step: Any, llm: LLM, **inputs: Any) -> dict[str, Any]:
    given = {"query": "Who?", "documents": DOCUMENTS, **inputs}
    kinds = {"query": str, "documents": list[Document], "answer": str}
    flow = Flow(step, inputs={n: kinds[n] for n in given}, resources={"llm": llm})
    return flow.invoke(**given)


def stream(llm: LLM, sampling: Sampling | None = None) -> list[str | Generation]:
    async def collect() -> list[str | Generation]:
        return [piece async for piece in llm.stream(Prompt("Who?"), sampling or Sampling())]

    return asyncio.run(collect())


def reasoning_model(body: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's reasoning models: what they refuse, and tokens that reasoning takes."""
    for name in ("temperature", "top_p", "max_tokens", "stop", "logprobs", "seed"):
        if name in body:
            raise RefusalError(
                400, f"Unsupported parameter: {name!r} is not supported with this model"
            )
    if body["max_completion_tokens"] < 600:
        return {"text": "", "finish": "length", "usage": (7, body["max_completion_tokens"])}
    return {"text": "The keeper opens it [1].\nAnd more.", "usage": (7, 640)}


def test_a_reasoning_model_is_asked_nothing_that_it_refuses() -> None:
    with serving(reasoning_model) as provider:
        llm = openai(provider.address, "gpt-5-mini")
        assert run(Generate(), llm)["answer"].startswith("The keeper opens it [1].")
        assert run(Generate(temperature=0.7, stop=("\n",)), llm)["answer"] == (
            "The keeper opens it [1]."
        )
        assert run(Rewrite(), llm)["query"] == "The keeper opens it [1]."
    for body in provider.requests:
        assert body.keys() <= {
            "model", "messages", "stream", "stream_options", "max_completion_tokens",
        }  # fmt: skip
    assert (llm.profile.size, llm.profile.reasoning > 0) == ("strong", True)
    assert llm.window > 100_000


def test_reasoning_that_takes_all_tokens_is_an_error_with_a_fix() -> None:
    with serving(reasoning_model) as provider:
        llm = openai(provider.address, "gpt-5-mini", profile={"reasoning": 0})
        with pytest.raises(ModelError, match="used up its 16 tokens") as caught:
            stream(llm, Sampling(max_tokens=16))
    assert "profile" in str(caught.value.fix)


def test_what_a_model_was_configured_with_stays() -> None:
    with serving(lambda _: {"text": "Yes."}) as provider:
        llm = openai(provider.address, "gpt-4o-mini", temperature=0.3, max_tokens=77)
        run(Generate(), llm)
        plain = openai(provider.address, "gpt-4o-mini")
        run(Generate(), plain)
        run(Generate(max_tokens=9, temperature=0.5, top_p=0.9, seed=3), plain)
    configured, default, asked = provider.requests
    assert (configured["temperature"], configured["max_completion_tokens"]) == (0.3, 77)
    assert not default.keys() & {"temperature", "top_p", "seed", "stop", "logprobs"}
    assert (asked["temperature"], asked["top_p"], asked["seed"]) == (0.5, 0.9, 3)
    assert asked["max_completion_tokens"] == 9


def test_anthropics_thinking_is_no_part_of_the_text() -> None:
    pytest.importorskip("langchain_anthropic")

    def claude(body: dict[str, Any]) -> dict[str, Any]:
        if body.get("temperature") is not None:
            raise RefusalError(400, "`temperature` may only be set to 1 when thinking is enabled")
        if body["max_tokens"] <= body["thinking"]["budget_tokens"]:
            raise RefusalError(400, "`max_tokens` must be greater than `thinking.budget_tokens`")
        return {"reasoning": "Which lock? The north one.", "text": "The keeper."}

    with serving(claude) as provider:
        use = {
            "use": "langchain_anthropic.ChatAnthropic", "model": "claude-sonnet-4-5",
            "base_url": provider.address, "api_key": "none", "max_retries": 0,
            "thinking": {"type": "enabled", "budget_tokens": 2048},
        }  # fmt: skip
        llm = LLM.load(use, base=Path())
        *pieces, done = stream(llm, Sampling(max_tokens=10, temperature=0.7))
    assert isinstance(done, Generation)
    assert "".join(map(str, pieces)) == done.text == "The keeper."
    assert done.reasoning == "Which lock? The north one."
    assert (done.prompt_tokens, done.completion_tokens, done.finish) == (7, 4, "stop")
    assert provider.requests[0]["max_tokens"] == 10 + 2048


def test_anthropics_limit_is_a_cut() -> None:
    pytest.importorskip("langchain_anthropic")
    with serving(lambda _: {"text": "The kee", "finish": "max_tokens"}) as provider:
        use = {
            "use": "langchain_anthropic.ChatAnthropic", "model": "claude-3-5-haiku-latest",
            "base_url": provider.address, "api_key": "none", "max_retries": 0,
        }  # fmt: skip
        *_, done = stream(LLM.load(use, base=Path()))
    assert isinstance(done, Generation)
    assert (done.text, done.finish) == ("The kee", "length")


@pytest.mark.parametrize("opened", [True, False])
def test_tags_of_open_models_are_cut_off(opened: bool) -> None:
    text = f"{'<think>' if opened else ''}\nWhich lock?\nHm.</think>\n\nharbour master extension"
    with serving(lambda _: {"text": text}) as provider:
        llm = openai(provider.address, "Qwen/Qwen3-8B")
        *pieces, done = stream(llm)
        assert run(Rewrite(), llm)["query"] == "harbour master extension"
    assert isinstance(done, Generation)
    assert done.text.strip() == "harbour master extension"
    assert done.reasoning == "Which lock?\nHm."
    if opened:
        assert "".join(map(str, pieces)) == done.text


def test_reasoning_content_is_kept_apart() -> None:
    pytest.importorskip("langchain_deepseek")
    given = {"reasoning": "Let me see.", "text": "The keeper."}
    with serving(lambda _: given) as provider:
        use = {
            "use": "langchain_deepseek.ChatDeepSeek", "model": "deepseek-reasoner",
            "api_base": f"{provider.address}/v1", "api_key": "none", "max_retries": 0,
        }  # fmt: skip
        *pieces, done = stream(LLM.load(use, base=Path()))
    assert isinstance(done, Generation)
    assert (pieces, done.reasoning) == (["The k", "eeper", "."], "Let me see.")


def logprob(token: str, **likely: float) -> dict[str, Any]:
    top = [{"token": t, "logprob": math.log(p), "bytes": None} for t, p in likely.items()]
    return {"token": token, "logprob": top[0]["logprob"], "bytes": None, "top_logprobs": top}


def test_log_probabilities_are_asked_for_where_a_class_has_them() -> None:
    """As vLLM and llama.cpp give them for any open model."""

    def server(body: dict[str, Any]) -> dict[str, Any]:
        if not body.get("logprobs"):
            return {"text": "The keeper."}
        likely = {"3": 0.6, "2": 0.3, "x": 0.1}
        if body.get("top_logprobs"):
            return {"text": "3", "logprobs": [logprob("3", **likely)]}
        sentence = [logprob("The", The=0.9), logprob(" keeper", keeper=0.4), logprob(".", end=0.9)]
        return {"text": "The keeper.", "logprobs": sentence}

    with serving(server) as provider:
        llm = openai(provider.address, "llama-3.1-8b-instruct")
        found = run(Generate(logprobs=True) >> ConfidenceJudge(threshold=0.5), llm)
        sentence = run(NextSentence(), llm)
        graded = run(GradeDocuments(), llm)
        choice = asyncio.run(choose(llm, Prompt("How well?"), ["1", "2", "3"]))
    assert found["confidence"] == pytest.approx((0.9 * 0.4 * 0.9) ** (1 / 3))
    assert sentence["confidence"] == pytest.approx(0.4)
    assert graded["grade"] == "ambiguous"  # (0.6 * 3 + 0.3 * 2) / 0.9 / 4 = 0.67
    assert choice.probabilities == pytest.approx({"1": 0, "2": 1 / 3, "3": 2 / 3})


def test_a_server_without_log_probabilities_is_asked_once_for_them() -> None:
    def server(body: dict[str, Any]) -> dict[str, Any]:
        if "logprobs" in body:
            raise RefusalError(400, "logprobs are not supported")
        return {"text": "4"}

    with serving(server) as provider:
        llm = openai(provider.address, "some-model")
        assert run(GradeDocuments(), llm)["grade"] == "correct"
        assert run(NextSentence(), llm)["confidence"] == 0
    assert 1 <= sum("logprobs" in body for body in provider.requests) <= llm.profile.concurrency


class Person(BaseModel):
    """Somebody."""

    name: str
    years: int = 0


@pytest.mark.parametrize("offered", [True, False])
def test_objects_are_constrained_where_that_is_offered(offered: bool) -> None:
    def server(body: dict[str, Any]) -> dict[str, Any]:
        if "response_format" in body and not offered:
            raise RefusalError(400, "response_format json_schema is not supported")
        return {"text": '{"name": "Ada", "years": 36}'}

    with serving(server) as provider:
        llm = openai(provider.address, "gpt-4o-mini")
        for _ in range(2):
            found = asyncio.run(structured(llm, Prompt("Who?"), Person))
            assert found.value == Person(name="Ada", years=36)
            assert (found.calls, found.tokens) == (1, 11)
    asked = ["response_format" in body for body in provider.requests]
    assert asked == ([True, True] if offered else [True, False, False])


def test_a_limited_server_is_asked_again_when_it_says_so() -> None:
    refused = threading.Semaphore(3)

    def server(_: dict[str, Any]) -> dict[str, Any]:
        if refused.acquire(blocking=False):
            raise RefusalError(429, "Rate limit reached", Retry_After="0")
        return {"text": "4"}

    with serving(server) as provider:
        llm = openai(provider.address, "some-model", profile={"logprobs": False})
        assert run(GradeDocuments(), llm)["grade"] == "correct"
    assert len(provider.requests) == len(DOCUMENTS) + 3


def test_a_server_that_asks_for_too_long_a_wait_is_an_error_at_once() -> None:
    def server(_: dict[str, Any]) -> dict[str, Any]:
        raise RefusalError(429, "Quota exceeded for today", Retry_After="80000")

    with serving(server) as provider, pytest.raises(ModelError, match="Quota exceeded"):
        stream(openai(provider.address, "some-model"))
    assert len(provider.requests) == 1


@pytest.mark.parametrize("concurrency", [1, 4])
def test_as_many_calls_at_once_as_the_profile_allows(concurrency: int) -> None:
    meeting = threading.Barrier(concurrency)

    def server(_: dict[str, Any]) -> dict[str, Any]:
        meeting.wait(20)  # answers when so many are here, which must come together
        return {"text": "3"}

    with serving(server) as provider:
        profile = {"concurrency": concurrency, "logprobs": False}
        llm = openai(provider.address, "some-model", profile=profile)
        run(VerifyLLM(), llm, answer="The keeper opens it. He is there.")
    assert len(provider.requests) == 2 * len(DOCUMENTS)
    assert provider.most == concurrency


def test_a_misspelt_profile_is_an_error_before_anything_is_opened() -> None:
    use = {"use": "langchain_openai.ChatOpenAI", "model": "m", "profile": {"sise": "strong"}}
    with pytest.raises(Exception, match=r"profile\.sise"):
        LLM.load(use, base=Path())


@pytest.mark.parametrize("finish", ["content_filter", "stop"])
def test_what_a_provider_refuses_to_write_is_an_empty_answer_with_a_warning(finish: str) -> None:
    with serving(lambda _: {"text": "", "finish": finish}) as provider:
        llm = openai(provider.address, "some-model")
        flow = Flow(
            Generate(), inputs={"query": str, "documents": list[Document]}, resources={"llm": llm}
        )
        events = list(flow.stream(query="Who?", documents=DOCUMENTS))
        assert run(Rewrite(), llm)["query"] == "Who?", "another step goes on with the question"
    warned = [event.message for event in events if isinstance(event, Warned)]
    assert warned == ["the model wrote no answer"]
    assert events[-1].result["answer"] == ""


def test_a_half_streamed_answer_is_not_asked_for_again() -> None:
    """A stream that breaks has given pieces already, which a reader has seen."""

    def server(_: dict[str, Any]) -> dict[str, Any]:
        return {"text": "The keeper", "logprobs": [{"token": 1}]}  # no such format

    with serving(server) as provider, pytest.raises(ModelError, match="gave no answer"):
        stream(openai(provider.address, "some-model"))
    assert len(provider.requests) == 1
