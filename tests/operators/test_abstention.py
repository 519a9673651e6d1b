"""What operators make of an answer that gives none, and of a model that declines."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document

from rag.flow import Flow, Operator
from rag.flow.run.events import Warned
from rag.operators import (
    Abstain,
    AnswerCandidates,
    Cite,
    Decompose,
    FilterAnswers,
    FollowUp,
    Generate,
    HyDE,
    KnowledgeJudge,
    LLMFusion,
    MultiQuery,
    Rewrite,
    StepBack,
    Summarize,
    VerificationQueries,
)
from rag.operators.answering import DO_NOT_KNOW
from rag.testing.llm import ScriptedLLM

REFUSAL = "I'm sorry, but I can't help with that."
UNKNOWN = "There is no information about that in the context."
DOCUMENTS = [Document(page_content="The keeper opens the north lock.", id="a")]
INPUTS: dict[str, Any] = {
    "query": "Who opens it?",
    "answer": "The keeper opens the north lock.",
    "documents": DOCUMENTS,
    "support": 0.0,
}


def run(step: Operator, output: Any = REFUSAL, **given: Any) -> dict[str, Any]:
    inputs = {**INPUTS, **given}
    reads = {port.name: port.type for port in step.signature().reads if port.name in inputs}
    llm = ScriptedLLM(output)
    result: dict[str, Any] = Flow(step, inputs=reads, resources={"llm": llm}).invoke(
        **{name: inputs[name] for name in reads}
    )
    return {**result, "calls": len(llm.calls)}


@pytest.mark.parametrize(
    ("step", "channel", "expected"),
    [
        (Rewrite(), "query", "Who opens it?"),
        (StepBack(), "queries", ["Who opens it?"]),
        (MultiQuery(), "queries", ["Who opens it?"]),
        (Decompose(), "queries", ["Who opens it?"]),
        (VerificationQueries(), "queries", ["Who opens it?"]),
        (HyDE(), "passages", []),
        (FollowUp(), "question", ""),
        (AnswerCandidates(), "candidates", []),
        (Summarize(), "summary", ""),
    ],
    ids=lambda one: getattr(one, "use", None),
)
def test_a_model_that_declines_wrote_nothing(step: Operator, channel: str, expected: Any) -> None:
    assert run(step)[channel] == expected


def test_a_fusion_that_is_declined_is_the_first_answer() -> None:
    kinds = {"query": str, "answer": list[str]}
    flow = Flow(LLMFusion(), inputs=kinds, resources={"llm": ScriptedLLM(REFUSAL)})
    result = flow.invoke(query="Who?", answer=["The keeper.", "The master."])
    assert result["answer"] == "The keeper."


@pytest.mark.parametrize("answer", [REFUSAL, UNKNOWN, ""])
def test_what_a_model_does_not_know_it_does_not_know_for_sure(answer: str) -> None:
    """However sure it is of saying so: no confidence is asked for."""
    result = run(KnowledgeJudge(), {"knowledge_judge": answer, "grade_knows": "4"})
    assert (result["known"], result["calls"]) == (False, 1)


@pytest.mark.parametrize(
    ("answer", "left"),
    [(UNKNOWN, UNKNOWN), ("", DO_NOT_KNOW), ("A cook does.", DO_NOT_KNOW)],
)
def test_without_support_only_an_abstention_stays(answer: str, left: str) -> None:
    assert run(Abstain(), answer=answer)["answer"] == left


def test_the_first_abstention_is_what_is_left_of_answers_without_support() -> None:
    llm = ScriptedLLM({"grade_supported": "0"})
    kinds = {"query": str, "answer": list[str], "documents": list[Document]}
    flow = Flow(FilterAnswers(), inputs=kinds, resources={"llm": llm})
    result = flow.invoke(query="Who?", answer=["A cook.", "", UNKNOWN], documents=DOCUMENTS)
    assert result["answers"] == [UNKNOWN, "", ""]
    assert len(llm.calls) == 1, "an abstention is not judged"


def test_a_summary_that_begins_with_what_is_missing_is_kept() -> None:
    text = f"{UNKNOWN} By day the keeper opens it."
    assert run(Summarize(), text)["summary"] == text


@pytest.mark.parametrize("mark", ["", " [1]"])
def test_a_sentence_that_no_source_says_it_gets_no_mark(mark: str) -> None:
    answer = f"The sources do not say who opens the south lock{mark}. The keeper opens the north."
    result = run(Cite(), answer=answer)
    first, second = result["answer"].split(". ")
    assert "[1]" not in first
    assert "[1]" in second
    assert [one.number for one in result["citations"]] == [1]


def test_an_empty_answer_is_a_warning() -> None:
    reads = {"query": str, "documents": list[Document]}
    flow = Flow(Generate(), inputs=reads, resources={"llm": ScriptedLLM("")})
    events = list(flow.stream(query="Who?", documents=DOCUMENTS))
    warned = [event.message for event in events if isinstance(event, Warned)]
    assert warned == ["the model wrote no answer"]
    assert events[-1].result["answer"] == ""
