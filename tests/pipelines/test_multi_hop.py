"""Flows that look up one fact after another, with a scripted strong model."""

from __future__ import annotations

from typing import Any

import pytest

from rag.flow.run.events import LoopTurn
from rag.index import Index
from rag.models import Embedder, Prompt
from rag.models.profiles import Profile
from rag.testing.llm import ScriptedLLM, text_of
from tests.pipelines import flow, made

TEXTS = [
    "Purchase orders are signed by Ida Holm, the quartermaster.",
    "Ida Holm has her office on the third floor of the warehouse.",
    *(
        f"Purchase order form {n} is blue and is kept for ten years in the archive."
        for n in "12345"
    ),
    *(f"The office on floor {n} of the tower is let to a shipping agent." for n in "12345"),
]
QUESTION = "On which floor is the office of the person who signs purchase orders?"
STRONG = Profile(size="strong", window=4096)


@pytest.fixture(scope="session")
def hops(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Index:
    """The fact that is asked for is found by what another document says."""
    return made(tmp_path_factory.mktemp("hops") / "index", embedder, TEXTS)


def reading(prompt: Prompt) -> str:
    """What a strong model says of what it reads."""
    if "signs purchase orders?" in prompt.question and "office" not in prompt.question:
        return "Ida Holm [1]."
    return "On the third floor [1]." if "third floor" in text_of(prompt) else "Not said."


def asked(name: str, index: Index, embedder: Embedder, **said: Any) -> tuple[Any, ScriptedLLM, int]:
    """The result, the model, and the turns of its loop."""
    answers = {"generate": reading, "generate_reasoning": reading, **said}
    llm = ScriptedLLM(answers, profile=STRONG, window=STRONG.window or 0)
    events = list(flow(name, index, embedder, llm, k=4).stream(query=QUESTION))
    turns = max((event.turn for event in events if isinstance(event, LoopTurn)), default=0)
    return events[-1].result, llm, turns


def test_sub_questions_are_answered_in_order_each_after_those_before(
    hops: Index, embedder: Embedder
) -> None:
    result, llm, turns = asked(
        "decomposition", hops, embedder,
        decompose="Who signs purchase orders?\nOn which floor is the office of #1?",
    )  # fmt: skip
    assert turns == 2
    assert llm.names == ["decompose", *["generate"] * 3]
    first, second, last = llm.prompts[1:]
    assert first.history == ()
    assert second.question == "On which floor is the office of Ida Holm?"
    assert second.history == (("user", "Who signs purchase orders?"), ("assistant", "Ida Holm."))
    assert [text for role, text in last.history if role == "assistant"] == [
        "Ida Holm.", "On the third floor.",
    ]  # fmt: skip
    assert last.question == QUESTION
    assert any("third floor" in chunk for chunk in last.chunks)
    assert "third floor" in result["answer"]


def test_a_reference_to_an_earlier_answer_is_resolved(hops: Index, embedder: Embedder) -> None:
    _, llm, _ = asked(
        "decomposition", hops, embedder,
        decompose="Who signs purchase orders?\nOn which floor is their office?",
        condense_query="On which floor is the office of Ida Holm?",
    )  # fmt: skip
    assert "third floor" in llm.prompts[-2].chunks[0], "the resolved question is searched"
    assert llm.names.count("condense_query") == 1


@pytest.mark.parametrize("said", ["", QUESTION, "\n \n"])
def test_a_question_that_cannot_be_split_is_answered_at_once(
    said: str, hops: Index, embedder: Embedder
) -> None:
    result, llm, turns = asked("decomposition", hops, embedder, decompose=said)
    assert (turns, llm.names) == (0, ["decompose", "generate"])
    assert isinstance(result["answer"], str)


def test_follow_up_questions_are_asked_until_none_is_left(hops: Index, embedder: Embedder) -> None:
    result, llm, turns = asked(
        "self_ask", hops, embedder,
        follow_up=["Who signs purchase orders?", "On which floor is the office of Ida Holm?",
                   "DONE"],
    )  # fmt: skip
    assert turns == 3
    assert llm.names == [*["follow_up", "generate"] * 2, "follow_up", "generate"]
    assert [role for role, _ in llm.prompts[-1].history] == ["user", "assistant"] * 2
    assert llm.prompts[-1].question == QUESTION
    assert "third floor" in result["answer"]
    assert result["citations"], "of a document that a follow-up question found"


@pytest.mark.parametrize(
    ("said", "turns"),
    [("", 1), (QUESTION, 1), ("Who signs purchase orders?", 2), (["Q1?", "Q2?", "Q3?", "Q4?"], 4)],
    ids=["empty", "the same", "repeated", "endless"],
)
def test_follow_up_questions_end(said: Any, turns: int, hops: Index, embedder: Embedder) -> None:
    result, _, took = asked("self_ask", hops, embedder, follow_up=said)
    assert took == turns
    assert isinstance(result["answer"], str)


def test_each_thought_is_the_next_search(hops: Index, embedder: Embedder) -> None:
    thoughts = ["Purchase orders are signed by Ida Holm.", "So the answer is: the third floor."]
    result, llm, turns = asked("ircot", hops, embedder, next_thought=thoughts)
    assert turns == 2
    assert llm.names == ["next_thought", "next_thought", "generate_reasoning"]
    assert not any("third floor" in chunk for chunk in llm.prompts[0].chunks)
    assert any("third floor" in chunk for chunk in llm.prompts[1].chunks), "the thought found it"
    assert result["reasoning"] == " ".join(thoughts)
    assert "third floor" in result["answer"]


@pytest.mark.parametrize(
    ("said", "turns"),
    [("", 1), ("DONE", 1), ("It is Ida Holm.", 2), ([f"Thought {n}." for n in range(9)], 4)],
    ids=["empty", "done", "repeated", "endless"],
)
def test_a_chain_of_thought_ends(said: Any, turns: int, hops: Index, embedder: Embedder) -> None:
    result, llm, took = asked("ircot", hops, embedder, next_thought=said)
    assert took == turns
    assert llm.names[-1] == "generate_reasoning"
    assert isinstance(result["answer"], str)


@pytest.mark.parametrize(
    ("route", "names"),
    [
        ("none", ["generate_alone"]),
        ("one", ["generate"]),
        ("several", ["next_thought", "generate_reasoning"]),
        ("nonsense", ["generate"]),
    ],
)
def test_a_question_costs_what_its_difficulty_needs(
    route: str, names: list[str], hops: Index, embedder: Embedder
) -> None:
    result, llm, _ = asked(
        "adaptive", hops, embedder,
        route_llm=route, next_thought="So the answer is: the third floor.",
        generate_alone="Four [1].",
    )  # fmt: skip
    assert llm.names == ["route_llm", *names]
    assert bool(llm.prompts[-1].chunks) == (route != "none")
    if route == "none":
        assert result["answer"] == "Four."
        assert result["citations"] == []


def test_the_general_question_is_searched_too(hops: Index, embedder: Embedder) -> None:
    general = "Where does Ida Holm the quartermaster have her office?"
    result, llm, _ = asked("step_back", hops, embedder, step_back=general)
    assert result["queries"] == [QUESTION, general]
    assert any("third floor" in chunk for chunk in llm.prompts[-1].chunks)
    assert llm.names == ["step_back", "generate_reasoning"]
