"""A citation needs a source that says it: numbers, dates, names and negations are not invented."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document

from rag.flow import Flow
from rag.flow.run.events import Warned
from rag.operators import Cite, Verify
from rag.operators.attestation import attested
from rag.operators.facts import denies, months, names, numbers, stated

PHONES = """Staff > Phones

| Name | Post | Extension |
|---|---|---|
| Ada Berg | managing director | 3001 |
| Jon Vik | harbour master | 3002 |"""
HISTORY = """A short history of the canal

The canal was opened on 14 June 1911 by the steamer Orrin Maid. The passage has three locks, and
the north lock is 120 m long. It is not open at night. A full passage takes 25 minutes. The toll
was raised to 1,200 crowns in May 2021. Keepers may open the lock, but not in a storm."""
GATE = "\u95a8\u306f7\u6642\u306b\u958b\u304f\u3002"
PAY = f"{PHONES}\n\nNothing is said of pay here.\n\nThe salary table is kept by the accountant."


@pytest.mark.parametrize(
    ("sentence", "text", "supported"),
    [
        ("The salary of the managing director is 3001.", PHONES, False),
        ("The salary of the managing director is 3001.", PAY, False),
        ("The managing director's salary is 3001.", PHONES, False),
        ("The extension of the managing director is 3001.", PHONES, True),
        ("The managing director's extension is 3001.", PHONES, True),
        ("1. Ada Berg is reached on 3001.", PHONES, True),
        ("Jon Vik is the harbour master; his extension is 3002.", PHONES, True),
        ("The Panama Canal has three locks.", HISTORY, False),
        ("Panama has three locks.", HISTORY, False),
        ("The canal has three locks.", HISTORY, True),
        ("The canal was opened on 14 June 1911.", HISTORY, True),
        ("The canal was opened on June 14, 1911.", HISTORY, True),
        ("The canal was opened on 14 July 1911.", HISTORY, False),
        ("The canal was opened on 15 June 1911.", HISTORY, False),
        ("It was the steamer Orrin Maid that opened the canal.", HISTORY, True),
        ("It was the steamer Hedda that opened the canal.", HISTORY, False),
        ("The duration of a full passage is 25 minutes.", HISTORY, True),
        ("A full passage takes 30 minutes.", HISTORY, False),
        ("The passage is open at night.", HISTORY, False),
        ("It is not open at night.", HISTORY, True),
        ("Keepers may open the lock.", HISTORY, True),
        ("Keepers may not open the lock.", HISTORY, False),
        ("The toll was raised to 1200 crowns in May 2021.", HISTORY, True),
        ("The toll was raised to 12 crowns in May 2021.", HISTORY, False),
        ("The north lock may be 120 m long.", HISTORY, True),
        (GATE, GATE, True),
        (GATE.replace("7", "8"), GATE, False),
        ("Das Tor ist 12 m hoch und alt.", "Ein Tor: 12 m hoch. Es ist alt.", True),
    ],
)  # fmt: skip
def test_what_a_source_attests(sentence: str, text: str, supported: bool) -> None:
    assert (attested(sentence, text).support >= 0.5) is supported


def test_a_contradiction_is_quoted() -> None:
    assert attested("A full passage takes 30 minutes.", HISTORY).problem == (
        "it says: A full passage takes 25 minutes."
    )
    assert "not open at night" in attested("The passage is open at night.", HISTORY).problem
    assert attested("Panama has three locks.", HISTORY).problem == "'Panama' is not in it"
    assert attested("The canal has three locks.", HISTORY).problem == ""


def test_a_quotation_is_attested_whatever_its_clauses_say() -> None:
    quoted = (
        "Nobody else may open it, not even the control room, because a sudden opening would draw "
        "down the level of Lake Orrin at the intake of the pumping station."
    )
    found = attested(quoted, f"Locks\n\nThe keeper opens the north lock. {quoted} Boats wait.")
    assert (found.support, found.problem) == (1.0, "")


def test_numbers_are_the_same_in_figures_and_words() -> None:
    assert numbers("three locks, 1,200 crowns, 07:30, 2.50 m, one of them") == {
        "3", "1200", "7", "30", "2.50",
    }  # fmt: skip
    assert numbers("1.200.000 and 0") == {"1200000", "0"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("14 June 1911", {"jun"}),
        ("May 2021, and it may rain", {"may"}),
        ("May we go in?", set()),
        ("since 2021-05-03", {"may"}),
        ("on 3.12.2020", {"dec"}),
        ("Sept 4", {"sep"}),
        ("the marching augurs", set()),
    ],
)
def test_months(text: str, found: set[str]) -> None:
    assert months(text) == found


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("The Panama Canal has locks.", ["Panama", "Canal"]),
        ("Panama has locks.", ["Panama"]),
        ("Locks are opened by Ada Berg.", ["Ada", "Berg"]),
        ("Ada Berg opens it.", ["Ada", "Berg"]),
        ("Employees may call the VHF room in May.", ["VHF"]),
        ("Der Hafen ist offen und das Tor zu.", []),
    ],
)
def test_names(sentence: str, found: list[str]) -> None:
    assert names(sentence) == found


def test_negations_and_statements() -> None:
    assert denies("It isn't open.")
    assert denies("Swimming is forbidden.")
    assert not denies("The knot is open.")
    assert not denies("It is not only open but free.")
    assert stated("The salary of the director is 3001.") == "The salary of the director "
    assert stated("The keeper opens lock 3.") == ""


def answered(answer: str, *texts: str) -> tuple[dict[str, Any], list[str]]:
    documents = [
        Document(page_content=t, metadata={"source": f"s{n}"}) for n, t in enumerate(texts)
    ]
    flow = Flow(Verify() >> Cite(), inputs={"answer": str, "documents": list[Document]})
    events = list(flow.stream(answer=answer, documents=documents))
    return events[-1].result, [one.message for one in events if isinstance(one, Warned)]


@pytest.mark.parametrize(
    "answer",
    [
        "The salary of the managing director is 3001 [1].",
        "The Panama Canal has three locks [2].",
        "The salary of the managing director is 3001.",
        "The Panama Canal has three locks.",
    ],
)
def test_an_invention_ends_in_no_citation(answer: str) -> None:
    result, warnings = answered(answer, PHONES, HISTORY)
    assert result["citations"] == []
    assert "[" not in result["answer"]
    assert result["support"] < 0.5
    (claim,) = result["claims"]
    assert claim.problem
    assert bool(warnings) == ("[" in answer)


def test_a_contradiction_is_a_warning() -> None:
    result, warnings = answered("A full passage takes 30 minutes.", PHONES, HISTORY)
    assert result["citations"] == []
    assert warnings == [
        "the source [2] contradicts the answer: it says: A full passage takes 25 minutes."
    ]
    assert result["claims"][0].problem.endswith("25 minutes.")


def test_two_sources_support_together_what_a_model_puts_together() -> None:
    answer = "Jon Vik is reached on 3002, and a full passage takes 25 minutes [1][2]."
    result, warnings = answered(answer, PHONES, HISTORY)
    assert [one.number for one in result["citations"]] == [1, 2]
    assert warnings == []
    alone, _ = answered(answer.replace("[1][2]", "[1]"), PHONES, HISTORY)
    assert alone["citations"] == []


def test_a_mark_is_no_number_of_the_sentence() -> None:
    result, _ = answered("A full passage takes 25 minutes [2].", PHONES, HISTORY)
    assert result["support"] == 1
    assert [one.number for one in result["citations"]] == [2]


def test_a_title_counts_as_part_of_its_source() -> None:
    document = Document(
        page_content="It has three locks.", metadata={"source": "a", "title": "Panama Canal"}
    )
    flow = Flow(Cite(), inputs={"answer": str, "documents": list[Document]})
    found = flow.invoke(answer="The Panama Canal has three locks.", documents=[document])
    assert found["answer"] == "The Panama Canal has three locks [1]."
