"""Assertions over runs: they hold, or say what ran instead."""

from __future__ import annotations

import pytest
from langchain_core.documents import Document

from rag import Flow, Loop, RunRecord, operator
from rag.flow.run.events import Done, Event, Token
from rag.operators import Generate, Rewrite
from rag.testing import (
    ScriptedLLM,
    assert_events,
    assert_not_ran,
    assert_ran,
    assert_tokens,
    prompts_of,
    streamed,
    the,
)


@operator(writes="x")
def grow(x: int) -> int:
    """Add one."""
    return x + 1


def flow() -> Flow:
    llm = ScriptedLLM({"rewrite": "who opens", "generate": "The keeper."})
    loop = Loop(body=grow(), max_turns=2)
    steps = Rewrite() >> loop >> Generate()
    inputs = {"query": str, "x": int, "documents": list[Document]}
    return Flow(steps, inputs=inputs, resources={"llm": llm})


GIVEN = {"query": "Who?", "x": 0, "documents": [Document(page_content="The keeper opens.")]}


@pytest.fixture(scope="module")
def record() -> RunRecord:
    return flow().run(**GIVEN)


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(flow().stream(**GIVEN))


def test_what_ran(record: RunRecord) -> None:
    assert_ran(record)
    assert_ran(record, "rewrite", "generate")
    assert_ran(record, "loop@1/grow", "loop@2/grow", "generate")
    assert_ran(record, "rewrite", "grow", "grow", "generate", only=True)
    assert_not_ran(record, "rerank", "loop@3/grow")


@pytest.mark.parametrize(
    ("steps", "only", "says"),
    [
        (("rerank",), False, "'rerank' did not run\n"),
        (("generate", "rewrite"), False, "'rewrite' did not run after generate\n"),
        (("grow", "grow", "grow"), False, "'grow' did not run after grow, grow\n"),
        (("rewrite", "generate"), True, "loop@1/grow, loop@2/grow ran as well\n"),
    ],
)
def test_what_did_not_run(record: RunRecord, steps: tuple[str, ...], only: bool, says: str) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_ran(record, *steps, only=only)
    assert str(caught.value).startswith(says)
    assert "loop@2/grow" in str(caught.value)
    assert 'query = "Who?"' in str(caught.value)


def test_what_should_not_have_run(record: RunRecord) -> None:
    with pytest.raises(AssertionError, match="'generate' ran"):
        assert_not_ran(record, "rerank", "generate")


def test_the_one_occurrence(record: RunRecord) -> None:
    assert (
        the(record, "rewrite").writes == {"queries": ["who opens"]} or the(record, "rewrite").writes
    )
    assert the(record, "loop@2/grow").inputs == {"x": 1}
    with pytest.raises(AssertionError, match="'grow' ran 2 times"):
        the(record, "grow")
    with pytest.raises(AssertionError, match="'rerank' did not run"):
        the(record, "rerank")


def test_prompts(record: RunRecord) -> None:
    (prompt,) = prompts_of(record, "generate")
    assert "The keeper opens." in prompt
    assert prompts_of(record, "grow") == []
    with pytest.raises(AssertionError, match="'rerank' did not run"):
        prompts_of(record, "rerank")


def test_costs(record: RunRecord) -> None:
    assert record.tokens > 10
    assert_tokens(record, at_most=record.tokens, llm_calls=2)
    with pytest.raises(AssertionError, match=rf"{record.tokens} tokens, 10 are allowed"):
        assert_tokens(record, at_most=10)
    with pytest.raises(AssertionError, match="2 LLM calls, not 1"):
        assert_tokens(record, at_most=10_000, llm_calls=1)


def test_events_in_order(events: list[Event]) -> None:
    assert_events(events, "node_started", "loop_turn", "loop_turn", Token, Done)
    with pytest.raises(AssertionError) as caught:
        assert_events(events, "loop_turn", "loop_turn", "loop_turn")
    assert str(caught.value).startswith("no loop_turn after loop_turn, loop_turn; the events:\n")
    assert "  done" in str(caught.value)
    with pytest.raises(AssertionError, match="there is no event 'finish'"):
        assert_events(events, "finish")
    with pytest.raises(AssertionError, match=r"no done; the events:\n  none"):
        assert_events([], Done)


def test_streamed_text(events: list[Event]) -> None:
    assert streamed(events, "generate") == "The keeper."
    assert streamed(events).endswith("The keeper.")
    assert streamed(events, "rerank") == ""
