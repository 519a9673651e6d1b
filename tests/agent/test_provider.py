"""Agents over providers' interfaces for tool calls, by their own clients, over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rag.errors import StepError
from rag.flow.run.events import ModelCalled, Token
from rag.models import LLM
from rag.operators import Cite
from tests.agent.bricks import LENGTH, QUESTION, Scripted, agent, document, hosted, run
from tests.connections.provider import Provider, RefusalError, serving


def call(query: str, tool: str = "search", at: int = 1) -> dict[str, Any]:
    return {"id": f"c{at}", "name": tool, "arguments": {"query": query}}


class Scene:
    """A provider that gives one answer after another."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]


def messages(provider: Provider, at: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = provider.requests[at]["messages"]
    return found


def search() -> Scripted:
    second = document("The south lock is 90 m long.", "b")
    return Scripted("search", {"north": [document(LENGTH)], "south": [second, document(LENGTH)]})


def test_a_hosted_model_calls_a_tool_and_answers_from_its_result() -> None:
    scene = Scene({"text": "", "calls": [call("north")]}, {"text": "It is 120 m long [1]."})
    with serving(scene) as provider:
        result, _ = run(agent(hosted(provider.address), search()))
    assert (result["answer"], result["ended"]) == ("It is 120 m long [1].", "answered")
    assert [one.page_content for one in result["documents"]] == [LENGTH]
    first, second = provider.requests
    (tool,) = first["tools"]
    assert tool["function"]["name"] == "search"
    assert tool["function"]["parameters"]["required"] == ["query"]
    assert "response_format" not in first
    *_, asked, told = second["messages"]
    assert [one["id"] for one in asked["tool_calls"]] == [told["tool_call_id"]] == ["c1"]
    assert f"<source 1>\n{LENGTH}\n</source>" in told["content"]


def test_calls_of_one_turn_have_their_results_in_order_and_stable_numbers() -> None:
    both = [call("north", at=1), call("south", at=2)]
    scene = Scene({"text": "", "calls": both}, {"text": "120 m [1] and 90 m [2]."})
    with serving(scene) as provider:
        result, _ = run(agent(hosted(provider.address), search()) >> Cite())
    told = [one for one in messages(provider, 1) if one["role"] == "tool"]
    assert [one["tool_call_id"] for one in told] == ["c1", "c2"]
    assert "<source 1>" in told[0]["content"]
    assert "<source 2>" in told[1]["content"]
    assert "<source 1>" not in told[1]["content"], "it was shown before"
    assert "Sources: 2, 1." in told[1]["content"]
    assert [one.number for one in result["citations"]] == [1, 2]


def test_only_the_answer_is_streamed() -> None:
    scene = Scene(
        {"text": "I will look that up.", "calls": [call("north")]}, {"text": "It is 120 m long."}
    )
    with serving(scene) as provider:
        result, events = run(agent(hosted(provider.address), search()))
    streamed = [one.text for one in events if isinstance(one, Token)]
    assert "".join(streamed) == result["answer"]
    assert all(str(one.place) == "agent" for one in events if isinstance(one, Token))


def test_a_long_answer_is_streamed_before_its_end() -> None:
    text = "It is 120 m long. " * 40
    with serving(Scene({"text": "", "calls": [call("north")]}, {"text": text})) as provider:
        _, events = run(agent(hosted(provider.address), search()))
    streamed = [one.text for one in events if isinstance(one, Token)]
    assert len(streamed) > 10
    assert "".join(streamed) == text


def test_what_the_model_writes_beside_a_call_stays_in_its_conversation() -> None:
    scene = Scene({"text": "First the north.", "calls": [call("north")]}, {"text": "120 m."})
    with serving(scene) as provider:
        run(agent(hosted(provider.address), search()))
    assert messages(provider, 1)[-2]["content"] == "First the north."


def test_arguments_that_are_no_json_go_back_to_the_model() -> None:
    wrong = {"id": "c1", "name": "search", "arguments": '{"query": nort'}
    scene = Scene(
        {"text": "", "calls": [wrong]}, {"text": "", "calls": [call("north", at=2)]},
        {"text": "120 m [1]."},
    )  # fmt: skip
    with serving(scene) as provider:
        result, _ = run(agent(hosted(provider.address), search()))
    (told,) = [one for one in messages(provider, 1) if one["role"] == "tool"]
    assert told["tool_call_id"] == "c1"
    assert "The arguments are wrong" in told["content"]
    assert [one.status for one in result["tool_uses"]] == ["malformed", "done"]
    assert result["answer"] == "120 m [1]."


def test_a_model_that_never_stops_is_told_to_answer() -> None:
    def server(body: dict[str, Any]) -> dict[str, Any]:
        if "Call no more tools" in str(body["messages"][-1]["content"]):
            return {"text": "It is 120 m long [1]."}
        at = len(body["messages"])
        return {"text": "", "calls": [call("north" if at < 4 else f"again {at}", at=at)]}

    with serving(server) as provider:
        result, events = run(agent(hosted(provider.address), search(), max_turns=3))
    assert (result["answer"], result["ended"]) == ("It is 120 m long [1].", "turns")
    assert len(provider.requests) == 4
    assert provider.requests[-1]["tools"], "providers refuse calls of tools that are not there"
    assert sum(isinstance(one, ModelCalled) for one in events) == 4


def test_a_model_that_calls_when_it_must_answer_gives_none() -> None:
    with serving(Scene({"text": "", "calls": [call("north")]})) as provider:
        result, _ = run(agent(hosted(provider.address), search(), max_turns=1))
    assert result["ended"] == "empty"
    assert result["answer"].startswith("The question was not answered")


def test_an_empty_answer_is_asked_for_once_more() -> None:
    scene = Scene(
        {"text": "", "calls": [call("north")]}, {"text": ""}, {"text": "It is 120 m long [1]."}
    )
    with serving(scene) as provider:
        result, _ = run(agent(hosted(provider.address), search()))
    assert result["answer"] == "It is 120 m long [1]."
    assert "Call no more tools" in messages(provider, 2)[-1]["content"]


def test_a_server_without_tools_is_asked_by_json() -> None:
    answers = [
        json.dumps({"thought": "", "tool": "search", "arguments": {"query": "north"}}),
        json.dumps({"thought": "", "tool": "answer", "arguments": {}}),
        "It is 120 m long [1].",
    ]

    def server(body: dict[str, Any]) -> dict[str, Any]:
        if "tools" in body:
            raise RefusalError(400, "this model does not support tools")
        if "response_format" in body:
            raise RefusalError(400, "response_format json_schema is not supported")
        return {"text": answers.pop(0)}

    with serving(server) as provider:
        result, _ = run(agent(hosted(provider.address, "some-model"), search()))
    assert result["answer"] == "It is 120 m long [1]."
    assert sum("tools" in body for body in provider.requests) == 1


def test_a_busy_server_is_waited_for() -> None:
    busy = RefusalError(429, "slow down", retry_after_ms="1")
    scene = Scene({"text": "", "calls": [call("north")]}, busy, {"text": "120 m [1]."})
    with serving(scene) as provider:
        result, _ = run(agent(hosted(provider.address), search()))
    assert result["answer"] == "120 m [1]."


def test_a_model_that_is_away_is_an_error_of_the_step() -> None:
    with serving(Scene(RefusalError(401, "no such key"))) as provider:
        flow = agent(hosted(provider.address), search())
        with pytest.raises(StepError, match="no such key"):
            flow.invoke(query=QUESTION)


def test_tokens_count_towards_the_run() -> None:
    first = {"text": "", "calls": [call("north")], "usage": (100, 20)}
    with serving(Scene(first, {"text": "120 m.", "usage": (200, 5)})) as provider:
        _, events = run(agent(hosted(provider.address), search()))
    assert (events[-1].llm_calls, events[-1].tokens) == (2, 325)  # type: ignore[attr-defined]


def test_reasoning_is_no_part_of_the_answer() -> None:
    scene = Scene(
        {"text": "<think>Which lock?</think>", "calls": [call("north")]},
        {"text": "<think>Now I know.</think>It is 120 m long."},
    )
    with serving(scene) as provider:
        result, events = run(agent(hosted(provider.address, "Qwen/Qwen3-8B"), search()))
    assert result["answer"] == "It is 120 m long."
    assert not any("think" in one.text for one in events if isinstance(one, Token))


def test_anthropics_signed_thinking_goes_back_with_its_call() -> None:
    pytest.importorskip("langchain_anthropic")
    scene = Scene(
        {"reasoning": "Which lock?", "text": "", "calls": [call("north")]},
        {"text": "It is 120 m long [1]."},
    )
    with serving(scene) as provider:
        use = {
            "use": "langchain_anthropic.ChatAnthropic", "model": "claude-sonnet-4-5",
            "base_url": provider.address, "api_key": "none", "max_retries": 0,
            "thinking": {"type": "enabled", "budget_tokens": 2048},
        }  # fmt: skip
        result, _ = run(agent(LLM.load(use, base=Path()), search()))
    assert result["answer"] == "It is 120 m long [1]."
    *_, asked, told = messages(provider, 1)
    kinds = [block["type"] for block in asked["content"]]
    assert kinds == ["thinking", "tool_use"]
    (given,) = told["content"]
    assert (given["type"], given["tool_use_id"]) == ("tool_result", "c1")
