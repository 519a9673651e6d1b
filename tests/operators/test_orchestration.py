"""Routes, judges and fusions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel

from rag.errors import ConfigError
from rag.flow import Flow, Operator, Parallel, operator
from rag.flow.run.events import Warned
from rag.models import LLM, Embedder, Generation
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
    WeightedSum,
)
from rag.prompts.templates import prompts
from rag.testing.llm import ScriptedLLM

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


def test_a_route_needs_its_threshold_and_no_more(embedder: Embedder) -> None:
    routes = {"locks": ["lock", "gate"], "pumps": ["pump"]}
    for threshold, route in ((0.5, "locks"), (0.51, "else")):
        step = RouteHybrid(routes=routes, weight=1.0, threshold=threshold, default="else")
        assert run(step, {"embedder": embedder}, query="the lock")["route"] == route


@pytest.mark.parametrize("routes", [{}, {"a": []}])
def test_a_route_without_keywords_is_refused(routes: dict[str, list[str]]) -> None:
    with pytest.raises(ConfigError, match="at least one route"):
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
        ({"min_documents": 3}, False),
        ({"min_score": 0.5}, True),
        ({"min_score": 0.5, "min_documents": 2}, False),
        ({"min_overlap": 0.5}, True),
        ({"min_overlap": 0.5, "min_documents": 2}, False),
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


@pytest.mark.parametrize("by", ["likelihood", "answer"])
@pytest.mark.parametrize("aspect", ["relevant", "supported", "useful"])
def test_the_model_judges(aspect: Any, by: Any) -> None:
    llm = ScriptedLLM({}, yes={aspect: [0.8, 0.1]})
    given = {"query": "Who?", "documents": DOCUMENTS, "answer": "The keeper."}
    step = LLMJudge(aspect=aspect, by=by)
    first, second = (run(step, {"llm": llm}, **given) for _ in range(2))
    assert (first["verdict"], second["verdict"]) == (True, False)
    assert first["score"] == pytest.approx(0.8)
    calls = 2 if by == "likelihood" else 1
    assert len(llm.names) == 2 * calls
    sources = 1 if aspect == "useful" else 2
    assert len(llm.prompts[calls - 1].chunks) == (
        0 if (aspect, by) == ("useful", "answer") else sources
    )
    nothing = {**given, "answer": "", "documents": []}
    assert run(step, {"llm": llm}, **nothing)["verdict"] is False
    assert len(llm.names) == 2 * calls


def test_the_small_model_knows_what_a_document_is_about(llm: LLM) -> None:
    """By what it foretells of the question; it says Yes or No by habit."""
    documents = [
        Document(page_content="The north lock was built by Anna Brandt in 1897."),
        Document(page_content="Visitors pay four crowns for the boat lift."),
    ]
    query = "Who built the north lock?"
    found = run(GradeDocuments(), {"llm": llm}, query=query, documents=documents)
    assert found["grade"] == "correct"
    assert found["documents"] == documents[:1]
    for one, verdict in zip(documents, (True, False), strict=True):
        given = {"query": query, "documents": [one], "answer": "It was built by Anna Brandt."}
        assert run(LLMJudge(aspect="relevant"), {"llm": llm}, **given)["verdict"] is verdict
        assert run(LLMJudge(aspect="supported"), {"llm": llm}, **given)["verdict"] is verdict


def test_a_judge_is_charged_for(llm: LLM) -> None:
    step = GradeDocuments()
    flow = Flow(step, inputs={"query": str, "documents": list[Document]}, resources={"llm": llm})
    done = list(flow.stream(query="How long?", documents=DOCUMENTS))[-1]
    assert done.llm_calls == 3
    assert done.tokens > 100


def test_what_is_asked_stays_when_the_question_is_cut() -> None:
    llm = ScriptedLLM({}, yes={"supported": 0.9})
    given = {"query": "Why? " * 9000, "documents": DOCUMENTS, "answer": "So. " * 9000}
    run(LLMJudge(aspect="supported", by="answer"), {"llm": llm}, **given)
    assert llm.prompts[0].question.endswith(prompts()["supported"].text)


@pytest.mark.parametrize(
    ("said", "verdict"),
    [("4", True), ("Grade: 3", True), ("1, hardly", False), ("banana", False), (" ", False)],
)
def test_a_remote_model_judges_in_words(said: str, verdict: bool) -> None:
    llm = LLM.load(FakeListChatModel(responses=[said]), base=Path())
    flow = Flow(
        LLMJudge(aspect="relevant"),
        inputs={"query": str, "documents": list[Document]},
        resources={"llm": llm},
    )
    events = list(flow.stream(query="Who?", documents=DOCUMENTS))
    assert events[-1].result["verdict"] is verdict
    unclear = said in ("banana", " ")
    assert any(isinstance(event, Warned) for event in events) == unclear


@pytest.mark.parametrize(
    ("by", "values", "grade", "kept"),
    [
        ("answer", [0.9, 0.1], "correct", 1),
        ("answer", [0.45, 0.4], "ambiguous", 2),
        ("answer", [0.1, 0.2], "incorrect", 0),
        ("likelihood", [0.5, 0.05], "correct", 1),
        ("likelihood", [0.25, 0.16], "ambiguous", 2),
        ("likelihood", [0.05, -0.1], "incorrect", 0),
    ],
)
def test_documents_are_graded(by: Any, values: list[float], grade: str, kept: int) -> None:
    llm = ScriptedLLM({}, yes={"relevant": values})
    step = GradeDocuments(by=by)
    found = run(step, {"llm": llm}, query="Who?", documents=DOCUMENTS)
    assert (found["grade"], len(found["documents"])) == (grade, kept)
    assert run(step, {"llm": llm}, query="Who?", documents=[])["grade"] == "incorrect"


def test_grades_that_cross_are_refused() -> None:
    with pytest.raises(ConfigError, match="lower must not be above upper"):
        GradeDocuments(lower=0.5, upper=0.2)
    with pytest.raises(ConfigError, match="give both"):
        GradeDocuments(lower=0.5)


def test_the_model_says_whether_it_knows() -> None:
    known = run(
        KnowledgeJudge(),
        {"llm": ScriptedLLM({"knowledge_judge": "Paris."}, probability=0.9)},
        query="?",
    )
    assert known == {"query": "?", "known": True, "answer": "Paris."}
    unsure = run(
        KnowledgeJudge(),
        {"llm": ScriptedLLM({"knowledge_judge": "Paris."}, probability=0.5)},
        query="?",
    )
    assert unsure["known"] is False
    remote = LLM.load(FakeListChatModel(responses=["Paris.", "4"]), base=Path())
    assert run(KnowledgeJudge(), {"llm": remote}, query="?")["known"] is True
    silent = ScriptedLLM({"knowledge_judge": " "}, probability=0.9)
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

    join = WeightedSum(weights={"dense": 1.0, "sparse": 0.5})
    found = Flow(Parallel(dense=dense(), sparse=sparse(), join=join)).invoke(query="x")
    assert [d.id for d in found["documents"]] == ["a", "b", "c"]
    totals = [d.metadata["score"] for d in found["documents"]]
    assert totals == pytest.approx([1.0, 0.5, 0.35])
    assert run(WeightedSum(), documents={"one": [], "two": []})["documents"] == []


def test_a_document_that_a_ranking_names_twice_counts_once() -> None:
    twice = [Document(page_content="a", id="a", metadata={"score": score}) for score in (2.0, 1.0)]
    other = Document(page_content="b", id="b", metadata={"score": 0.0})
    found = run(WeightedSum(), documents={"one": [*twice, other], "two": [other]})["documents"]
    assert [(d.id, d.metadata["score"]) for d in found] == [("a", 1.0), ("b", 1.0)]


def test_a_document_without_a_number_for_a_score_scores_nothing() -> None:
    ranking = [
        Document(page_content=str(score), metadata={"score": score, "scores": "3:1"})
        for score in (None, "high", 1.0)
    ]
    found = run(WeightedSum(), documents={"one": ranking})["documents"]
    assert [d.metadata["score"] for d in found] == [1.0, 0.0, 0.0]
    assert found[0].metadata["scores"] == {"weighted_sum": 1.0}


@pytest.mark.parametrize(
    ("answers", "best"),
    [
        (["Yes", "No", "No"], "No"),
        (["Yes", "Yes", "No.", "No, it may not.", "no"], "No."),
        (["5", "-5", " **-5**."], "-5"),
        (["是", "否", "否。"], "否"),
        (["The cook.", "42", "42", "42"], "42"),
    ],
)
def test_equal_answers_are_votes(answers: list[str], best: str) -> None:
    assert run(Vote(), answer=answers)["answer"] == best


def test_the_answer_that_most_agree_with_wins() -> None:
    answers = ["The cook.", "The keeper on duty.", "The keeper may.", "", "The duty keeper."]
    assert run(Vote(), answer=answers)["answer"] == "The keeper on duty."
    assert run(Vote(), answer=["", " "])["answer"] == ""
    assert run(Vote(), answer=[])["answer"] == ""


@pytest.mark.parametrize("by", ["likelihood", "answer"])
def test_answers_are_ranked_by_the_model(by: Any) -> None:
    llm = ScriptedLLM({}, yes={"useful": [0.2, 0.9, 0.6]})
    given = {"query": "Who?", "answer": ["A", "B", "B", "", "C"]}
    assert run(RankAnswers(k=2, by=by), {"llm": llm}, **given)["answers"] == ["B", "C"]
    assert run(RankAnswers(by=by), {"llm": llm}, query="Who?", answer=[])["answers"] == []


def test_answers_are_fused_by_the_model() -> None:
    llm = ScriptedLLM({"llm_fusion": ["Both.", " "]})
    given = {"query": "Who?", "answer": ["A", "B"]}
    assert run(LLMFusion(), {"llm": llm}, **given)["answer"] == "Both."
    assert run(LLMFusion(), {"llm": llm}, **given)["answer"] == "A"
    noted = {**given, "critiques": ["bad", ""]}
    run(LLMFusion(), {"llm": llm}, **noted)
    assert llm.prompts[-1].chunks == ("A\nCritique: bad", "B")
    run(LLMFusion(pair=True), {"llm": llm}, **given, queries=["Who?", "When?"])
    assert llm.prompts[-1].chunks == ("Question: Who?\nAnswer: A", "Question: When?\nAnswer: B")
    assert llm.prompts[-1].system == prompts()["llm_fusion_parts"].text
    assert run(LLMFusion(), {"llm": llm}, query="Who?", answer=["A", "A"])["answer"] == "A"
    assert run(LLMFusion(), {"llm": llm}, query="Who?", answer=[])["answer"] == ""
    assert len(llm.names) == 4


def test_weights_of_what_is_no_branch_are_told() -> None:
    flow = Flow(WeightedSum(weights={"dens": 0.5}), inputs={"documents": dict[str, list[Document]]})
    events = list(flow.stream(documents={"dense": [], "sparse": []}))
    assert any("no branch is called dens" in e.message for e in events if isinstance(e, Warned))
