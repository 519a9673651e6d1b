"""Routes, judges and fusions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from pydantic import ValidationError
from rag.operators import (
    ConfidenceJudge,
    Generate,
    GradeDocuments,
    KnowledgeJudge,
    LLMFusion,
    LLMJudge,
    RankAnswers,
    RouteByMetadata,
    RouteHybrid,
    RouteLLM,
    RouteSemantic,
    RuleJudge,
    Vote,
    Weighted,
)

from rag.flow import Flow, Operator, Parallel, operator
from rag.flow.events import Warned
from rag.llm import LLM, Embedder, Generation
from tests.scripted import Scripted

ROUTES = {"locks": ["lock", "gate"], "pumps": ["pump", "P-17"]}


def run(step: Operator, resources: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
    kinds = {port.name: port.type for port in step.signature().reads if port.name in inputs}
    return Flow(step, inputs=kinds, resources=resources or {}).invoke(**inputs)


@pytest.mark.parametrize(
    ("query", "route"),
    [
        ("Is the GATE open?", "locks"),
        ("What does P-17 lift?", "pumps"),
        ("pumping locked gateways", "locks"),
        ("", "locks"),
        ("lock " * 2000, "locks"),
        ("\u0428\u043b\u044e\u0437?", "locks"),
    ],
)
def test_keywords_choose_the_way(query: str, route: str) -> None:
    assert run(RouteByMetadata(routes=ROUTES), query=query)["route"] == route
    if not any(word in query for word in ("GATE", "P-17", "lock ")):
        step = RouteByMetadata(routes=ROUTES, default="else")
        assert run(step, query=query)["route"] == "else"


def test_meaning_chooses_the_way(embedder: Embedder) -> None:
    routes = {"greeting": ["hello", "good morning"], "price": ["what does it cost?"]}
    step = RouteSemantic(routes=routes, default="else", threshold=0.3)
    for query, route in [
        ("hi there, good day", "greeting"),
        ("How much is a ticket?", "price"),
        ("", "else"),
        ("quantum chromodynamics", "else"),
    ]:
        assert run(step, {"embedder": embedder}, query=query)["route"] == route


def test_keywords_and_meaning_are_weighed(embedder: Embedder) -> None:
    routes = {"price": ["cost"], "locks": ["lock"]}
    query = "How expensive is the lock?"
    by_words = RouteHybrid(routes=routes, weight=1.0)
    assert run(by_words, {"embedder": embedder}, query=query)["route"] == "locks"
    by_meaning = RouteHybrid(
        routes={"price": ["how expensive is it?"], "locks": ["lock"]}, weight=0
    )
    assert run(by_meaning, {"embedder": embedder}, query=query)["route"] == "price"


@pytest.mark.parametrize("routes", [{}, {"a": []}])
def test_a_route_without_ways_is_refused(routes: dict[str, list[str]]) -> None:
    with pytest.raises(ValidationError, match="at least one way"):
        RouteByMetadata(routes=routes)


@pytest.mark.parametrize(
    ("said", "route", "warned"),
    [("Chat!", "chat", False), ("It is about facts", "facts", False), ("42", "else", True),
     (" ", "else", True)],
)  # fmt: skip
def test_the_model_chooses_the_way(said: str, route: str, warned: bool) -> None:
    llm = LLM.load(FakeListChatModel(responses=[said]), base=Path())
    step = RouteLLM(routes={"facts": "questions", "chat": "small talk"}, default="else")
    events = list(Flow(step, resources={"llm": llm}).stream(query="Hello"))
    assert events[-1].result["route"] == route
    assert any(isinstance(event, Warned) for event in events) == warned


def test_the_local_model_chooses_one_of_the_ways(llm: LLM) -> None:
    step = RouteLLM(routes={"facts": "a question about facts", "chat": "small talk"})
    assert run(step, {"llm": llm}, query="How long is the lock?")["route"] in ("facts", "chat")


DOCUMENTS = [
    Document(page_content="The north lock is long.", metadata={"score": 0.9}),
    Document(page_content="Tea is hot.", metadata={"score": 0.2}),
]


@pytest.mark.parametrize(
    ("settings", "enough"),
    [
        ({}, True),
        ({"least": 3}, False),
        ({"score": 0.5}, True),
        ({"score": 0.5, "least": 2}, False),
        ({"words": 0.5}, True),
        ({"words": 0.5, "least": 2}, False),
    ],
)
def test_rules_say_whether_it_is_enough(settings: dict[str, Any], enough: bool) -> None:
    step = RuleJudge(**settings)
    assert run(step, query="north lock", documents=DOCUMENTS)["sufficient"] is enough
    assert run(step, query="north lock", documents=[])["sufficient"] is False


def test_confidence_is_the_mean_probability() -> None:
    told = Generation("a b", 1, 2, "stop", None, (("a", math.log(0.9)), ("b", math.log(0.4))))
    found = run(ConfidenceJudge(), generation=told)
    assert found["confidence"] == pytest.approx(0.6)
    silent = run(ConfidenceJudge(), generation=Generation("a", 1, 1, "stop"))
    assert (silent["sufficient"], silent["confidence"]) == (False, 0.0)


def test_generate_tells_how_sure_it_was(llm: LLM) -> None:
    flow = Flow(
        Generate(max_tokens=8, logprobs=True) >> ConfidenceJudge(),
        inputs={"query": str, "documents": list[Document]},
        resources={"llm": llm},
    )
    assert 0 < flow.invoke(query="How long?", documents=DOCUMENTS)["confidence"] < 1


@pytest.mark.parametrize("aspect", ["relevant", "supported", "useful"])
def test_the_model_judges(aspect: Any) -> None:
    llm = Scripted({}, {aspect: [0.8, 0.3]})
    given = {"query": "Who?", "documents": DOCUMENTS, "answer": "The keeper."}
    first, second = (run(LLMJudge(aspect=aspect), {"llm": llm}, **given) for _ in range(2))
    assert (first["verdict"], second["verdict"]) == (True, False)
    assert first["probability"] == pytest.approx(0.8)
    assert bool(llm.prompts[0].chunks) == (aspect != "useful")
    nothing = {**given, "answer": "", "documents": []}
    assert run(LLMJudge(aspect=aspect), {"llm": llm}, **nothing)["verdict"] is False
    assert len(llm.asked) == 2


@pytest.mark.parametrize(
    ("said", "verdict"),
    [("Yes.", True), ("no, not at all", False), ("banana", False), (" ", False)],
)
def test_a_remote_model_judges_in_words(said: str, verdict: bool) -> None:
    llm = LLM.load(FakeListChatModel(responses=[said]), base=Path())
    step = LLMJudge(aspect="relevant", threshold=0.6)
    assert run(step, {"llm": llm}, query="Who?", documents=DOCUMENTS)["verdict"] is verdict


@pytest.mark.parametrize(
    ("values", "grade", "kept"),
    [([0.9, 0.1], "correct", 1), ([0.5, 0.4], "ambiguous", 2), ([0.1, 0.2], "incorrect", 0)],
)
def test_documents_are_graded(values: list[float], grade: str, kept: int) -> None:
    llm = Scripted({}, {"relevant": values})
    found = run(GradeDocuments(), {"llm": llm}, query="Who?", documents=DOCUMENTS)
    assert (found["grade"], len(found["documents"])) == (grade, kept)
    assert run(GradeDocuments(), {"llm": llm}, query="Who?", documents=[])["grade"] == "incorrect"


def test_the_model_says_whether_it_knows() -> None:
    known = run(
        KnowledgeJudge(), {"llm": Scripted({"knowledge_judge": "Paris."}, sure=0.9)}, query="?"
    )
    assert known == {"query": "?", "known": True, "answer": "Paris."}
    unsure = run(
        KnowledgeJudge(), {"llm": Scripted({"knowledge_judge": "Paris."}, sure=0.5)}, query="?"
    )
    assert unsure["known"] is False
    remote = LLM.load(FakeListChatModel(responses=["Paris.", "Yes"]), base=Path())
    assert run(KnowledgeJudge(), {"llm": remote}, query="?")["known"] is True
    silent = Scripted({"knowledge_judge": " "}, sure=0.9)
    assert run(KnowledgeJudge(), {"llm": silent}, query="?")["known"] is False
    assert run(KnowledgeJudge(), {"llm": silent}, query=" ")["known"] is False


def test_the_local_model_knows_paris(llm: LLM) -> None:
    found = run(
        KnowledgeJudge(max_tokens=24, threshold=0.5),
        {"llm": llm},
        query="What is the capital of France?",
    )
    assert found["known"] is True
    assert "Paris" in found["answer"]


def test_scores_are_weighed() -> None:
    a, b, c = (Document(page_content=name, id=name) for name in "abc")

    def ranking(**scores: float) -> list[Document]:
        found = {"a": a, "b": b, "c": c}
        return [
            found[name].model_copy(update={"metadata": {"score": score}})
            for name, score in scores.items()
        ]

    @operator(writes="documents")
    def dense(query: str) -> list[Document]:
        """Two."""
        return ranking(a=0.9, b=0.5)

    @operator(writes="documents")
    def sparse(query: str) -> list[Document]:
        """Three."""
        return ranking(b=12.0, c=9.0, a=2.0)

    join = Weighted(weights={"dense": 1.0, "sparse": 0.5})
    found = Flow(Parallel(dense=dense(), sparse=sparse(), join=join)).invoke(query="x")
    assert [d.id for d in found["documents"]] == ["a", "b", "c"]
    totals = [d.metadata["score"] for d in found["documents"]]
    assert totals == pytest.approx([1.0, 0.5, 0.35])
    assert run(Weighted(), documents={"one": [], "two": []})["documents"] == []


def test_the_answer_that_most_agree_with_wins() -> None:
    answers = ["The cook.", "The keeper on duty.", "The keeper may.", "", "The duty keeper."]
    assert run(Vote(), answer=answers)["answer"] == "The keeper on duty."
    assert run(Vote(), answer=["", " "])["answer"] == ""
    assert run(Vote(), answer=[])["answer"] == ""


def test_answers_are_ranked_by_the_model() -> None:
    llm = Scripted({}, {"useful": [0.2, 0.9, 0.5]})
    given = {"query": "Who?", "answer": ["A", "B", "B", "", "C"]}
    assert run(RankAnswers(k=2), {"llm": llm}, **given)["answers"] == ["B", "C"]
    assert run(RankAnswers(), {"llm": llm}, query="Who?", answer=[])["answers"] == []


def test_answers_are_fused_by_the_model() -> None:
    llm = Scripted({"llm_fusion": ["Both.", " "]})
    given = {"query": "Who?", "answer": ["A", "B"]}
    assert run(LLMFusion(), {"llm": llm}, **given)["answer"] == "Both."
    assert run(LLMFusion(), {"llm": llm}, **given)["answer"] == "A"
    noted = {**given, "critiques": ["bad", ""]}
    run(LLMFusion(), {"llm": llm}, **noted)
    assert llm.prompts[-1].chunks == ("A\nCritique: bad", "B")
    assert run(LLMFusion(), {"llm": llm}, query="Who?", answer=["A", "A"])["answer"] == "A"
    assert run(LLMFusion(), {"llm": llm}, query="Who?", answer=[])["answer"] == ""
    assert len(llm.asked) == 3
