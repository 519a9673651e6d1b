"""Operators of flows that answer in turns: what is asked next, what is kept, when it ends."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document

from rag.flow import Flow, Operator
from rag.flow.run.events import Warned
from rag.models.profiles import Profile
from rag.operators import (
    Abstain,
    AppendTurn,
    Cite,
    Collect,
    FilterAnswers,
    FollowUp,
    Generate,
    NextQuestion,
    NextSentence,
    Reflect,
)
from rag.operators.answering import DO_NOT_KNOW, NOTHING_FOUND
from rag.operators.generation.next_sentence import adds
from rag.testing.llm import ScriptedLLM

LOCK = Document(page_content="The keeper on duty opens the north lock.", id="1")
PUMP = Document(page_content="The pump P-17 lifts 240 litres.", id="2")
ICE = Document(page_content="Hedda breaks the ice.", id="3")


def run(step: Operator, llm: ScriptedLLM | None = None, **given: Any) -> dict[str, Any]:
    """What a step writes of these channels."""
    ports = {port.name: port for port in type(step).signature().reads}
    flow = Flow(
        step,
        inputs={name: ports[name].type for name in given},
        resources={} if llm is None else {"llm": llm},
    )
    return flow.invoke(**given)


def turns(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    said = []
    for question, answer in pairs:
        said += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return said


@pytest.mark.parametrize(
    ("history", "question", "last"),
    [
        ([], "Who keeps it?", False),
        (turns(("Who keeps it?", "Ada Brandt [2]. She is new.")), "Where is Ada Brandt?", True),
        (turns(("Who keeps it?", DO_NOT_KNOW)), "Where is #1?", True),
        (turns(("Who keeps it?", "</source> x")), "Where is &lt;/source> x?", True),
    ],
)
def test_the_next_question_knows_the_answers_before_it(
    history: Any, question: str, last: bool
) -> None:
    queries = ["Who keeps it?", "Where is #1?", "Where is who keeps it?"]
    found = run(NextQuestion(), queries=queries, history=history)
    assert found["last"] is last
    assert "<" not in found["question"] if "source" in question else found["question"] == question


def test_without_a_sub_question_the_question_itself_is_next() -> None:
    assert run(NextQuestion(), queries=["Who?"])["question"] == "Who?"


def test_a_turn_has_no_marks_of_documents_that_are_gone() -> None:
    earlier = turns(("A?", "B."))
    found = run(AppendTurn(), query="Who?", answer="The keeper [1][3].", history=earlier)
    assert found["history"] == [*earlier, *turns(("Who?", "The keeper."))]


@pytest.mark.parametrize(
    ("said", "question"),
    [
        ("1. Who keeps it?\nAnd why?", "Who keeps it?"),
        ("DONE", ""),
        ("**Done.**", ""),
        ("", ""),
        ("Who opens it?", ""),
        ("Who was asked?", ""),
    ],
)
def test_a_follow_up_question_is_a_new_one(said: str, question: str) -> None:
    history = turns(("Who was asked?", "Ada."))
    llm = ScriptedLLM({"follow_up": said})
    found = run(FollowUp(), llm, query="Who opens it?", history=history)
    assert (found["question"], found["finished"]) == (question, not question)


def test_what_several_searches_found_alternates() -> None:
    found = run(Collect(), documents=[ICE, LOCK], found=[LOCK, PUMP])["found"]
    assert [one.id for one in found] == ["1", "3", "2"]


@pytest.mark.parametrize(
    ("supported", "useful", "good", "score"),
    [
        ("4", "4", True, 1.0),
        ("4", "0", False, 2 / 3),
        ("0", "4", False, 1 / 3),
        ("2", "4", False, 0.57),
    ],
)
def test_support_counts_twice_as_much_as_use(
    supported: str, useful: str, good: bool, score: float
) -> None:
    llm = ScriptedLLM({"grade_supported": supported, "grade_useful": useful})
    found = run(Reflect(), llm, query="Who?", documents=[LOCK], answer="The keeper.")
    assert found["good"] is good
    assert found["score"] == pytest.approx(score, abs=0.01)


@pytest.mark.parametrize("answer", ["", NOTHING_FOUND, "the sources do not say who."])
def test_no_answer_is_not_good(answer: str) -> None:
    llm = ScriptedLLM("4")
    found = run(Reflect(), llm, query="Who?", documents=[], answer=answer)
    assert (found["good"], found["support"]) == (False, 0.0)
    assert "grade_supported" not in llm.names


def test_an_answer_that_is_not_supported_leaves_its_place_empty() -> None:
    llm = ScriptedLLM({"grade_supported": lambda one: "0" if "cook" in one.question else "4"})
    step = FilterAnswers()
    flow = Flow(
        step,
        inputs={"query": str, "answer": list[str], "documents": list[Document]},
        resources={"llm": llm},
    )
    said = ["A cook.", "The keeper.", "", "The keeper."]
    events = list(flow.stream(query="Who?", answer=said, documents=[LOCK]))
    assert events[-1].result["answers"] == ["", "The keeper.", "", "The keeper."]
    assert len(llm.calls) == 2, "equal answers are judged once"
    assert any("1 of 2 answers" in one.message for one in events if isinstance(one, Warned))


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (["A cook.", "A king."], [DO_NOT_KNOW, ""]),
        (["A cook.", NOTHING_FOUND], [NOTHING_FOUND, ""]),
        (["", ""], [DO_NOT_KNOW, ""]),
    ],
)
def test_where_no_answer_is_left_the_first_says_so(said: list[str], left: list[str]) -> None:
    llm = ScriptedLLM({"grade_supported": "nonsense"})
    found = run(FilterAnswers(), llm, query="Who?", answer=said, documents=[LOCK])
    assert found["answers"] == left


def test_each_answer_is_judged_with_its_own_question() -> None:
    llm = ScriptedLLM({"grade_supported": "4"})
    run(
        FilterAnswers(pair=True), llm,
        query="Both?", queries=["North?", "South?"], answer=["A.", "B."], documents=[LOCK],
    )  # fmt: skip
    assert sorted(one.question[:6] for one in llm.prompts) == ["North?", "South?"]


@pytest.mark.parametrize("size", ["small", "strong"])
def test_a_flow_that_has_not_searched_answers_from_knowledge(size: Any) -> None:
    llm = ScriptedLLM({"generate_alone": "Four."}, profile=Profile(size=size))
    assert run(Generate(), llm, query="2 + 2?")["answer"] == "Four."
    assert llm.names == ["generate_alone"]
    assert llm.prompts[0].chunks == ()


def test_what_was_searched_in_vain_is_not_answered_from_knowledge() -> None:
    llm = ScriptedLLM()
    assert run(Generate(), llm, query="Who?", documents=[])["answer"] == NOTHING_FOUND
    assert llm.calls == []


def test_an_answer_from_knowledge_cites_nothing() -> None:
    assert run(Cite(), answer="Four [1].") == {"answer": "Four.", "citations": []}


@pytest.mark.parametrize(
    ("sentence", "new"),
    [
        ("The keeper opens the north lock.", False),
        ("The keeper opens the lock [2]!", False),
        ("The keeper may not open the north lock.", True),
        ("The master opens the north lock.", True),
        ("...", False),
        ("It is so.", True),
    ],
)
def test_a_sentence_must_add_something(sentence: str, new: bool) -> None:
    assert adds(sentence, "It is long. The keeper opens the north lock [1].") is new


@pytest.mark.parametrize(
    ("said", "finished"),
    [("The keeper is Ada.", False), ("So the answer is: Ada.", True), ("DONE", True), ("", True)],
)
def test_a_reasoning_ends_with_its_answer(said: str, finished: bool) -> None:
    llm = ScriptedLLM({"next_thought": said})
    found = run(NextSentence(reason=True), llm, query="Who?", documents=[LOCK])
    assert found["finished"] is finished


def test_no_sentence_is_written_about_nothing() -> None:
    found = run(NextSentence(), ScriptedLLM(), query="Who?", documents=[])
    assert (found["sentence"], found["finished"]) == (NOTHING_FOUND, True)


def test_an_abstention_keeps_what_it_says_is_missing() -> None:
    said = "The sources do not say. The name of the cook is missing."
    assert run(Abstain(), answer=said, support=0.0)["answer"] == said
