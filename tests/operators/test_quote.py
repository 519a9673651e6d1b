"""Answers that are quotations: the right sentence, word for word, or none."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document

from rag.errors import ConfigError
from rag.flow import Flow
from rag.flow.run.events import Token
from rag.models import Embedder
from rag.models.profiles import Profile
from rag.operators import Quote, RouteBySize
from rag.operators.answering import DO_NOT_KNOW, NOTHING_FOUND
from rag.testing.llm import ScriptedLLM

LOCKS = Document(
    page_content="The north lock lies at Orrin. A full passage takes 14 minutes. It has no roof.",
    metadata={"title": "North lock"},
)
FAULTS = Document(
    page_content="| Fault | Lamp | What to do |\n| --- | --- | --- |\n"
    "| 114 seal pressure low | red 4 | exchange the seal |\n| 133 wind limit | yellow 5 | wait |",
    metadata={"title": "Faults of the boat lift"},
)
VISITORS = Document(
    page_content="| | 2023 | 2024 |\n|---|---|---|\n| Visitors at Stavely | 183,000 | 197,000 |"
)
STAFF = Document(page_content="Keepers:\n- North lock: Mara Voss\n- South lock: Ida Brandt")


def quoted(query: str, documents: list[Document], embedder: Embedder, **fields: Any) -> Any:
    flow = Flow(Quote(**fields), inputs={"query": str, "documents": list[Document]})
    with flow.with_resources(embedder=embedder) as bound:
        events = list(bound.stream(query=query, documents=documents))
    said = "".join(event.text for event in events if isinstance(event, Token))
    result = events[-1].result
    assert said == result["answer"]
    return result


@pytest.mark.parametrize(
    ("query", "documents", "answer"),
    [
        (
            "How long does a passage of the north lock take?", [STAFF, FAULTS, LOCKS],
            "A full passage takes 14 minutes.",
        ),
        (
            "What to do if the seal pressure of the boat lift is low?", [STAFF, FAULTS, LOCKS],
            "Fault: 114 seal pressure low; Lamp: red 4; What to do: exchange the seal",
        ),
        ("Who is the keeper of the north lock?", [STAFF, FAULTS], "North lock: Mara Voss"),
        (
            "How many visitors came to Stavely in 2024?", [STAFF, VISITORS],
            "Visitors at Stavely; 2023: 183,000; 2024: 197,000",
        ),
    ],
)  # fmt: skip
def test_the_sentence_that_answers_is_quoted(
    query: str, documents: list[Document], answer: str, embedder: Embedder
) -> None:
    found = quoted(query, documents, embedder, margin=0)
    assert found["answer"] == answer
    assert found["confidence"] >= 0.57


def test_a_second_sentence_is_quoted_that_is_nearly_as_similar(embedder: Embedder) -> None:
    text = "It cost 40 crowns in May. It cost 50 crowns in June. The lock has no roof."
    query = "What did it cost?"
    both = "It cost 40 crowns in May. It cost 50 crowns in June."
    documents = [Document(page_content=text)]
    assert quoted(query, documents, embedder, threshold=0)["answer"] == both
    assert quoted(query, documents, embedder, threshold=0, margin=0)["answer"] in both[:25] + both


@pytest.mark.parametrize(
    ("query", "documents", "answer"),
    [
        ("What is the wifi password?", [LOCKS, STAFF], DO_NOT_KNOW),
        ("How many locks has the Panama Canal?", [FAULTS], DO_NOT_KNOW),
        ("", [LOCKS], DO_NOT_KNOW),
        ("How long?", [], NOTHING_FOUND),
        ("How long?", [Document(page_content="# Title\n---")], DO_NOT_KNOW),
    ],
)
def test_what_the_documents_do_not_say_is_not_answered(
    query: str, documents: list[Document], answer: str, embedder: Embedder
) -> None:
    assert quoted(query, documents, embedder)["answer"] == answer


@pytest.mark.parametrize(("size", "route"), [("small", "quoted"), ("strong", "written")])
def test_the_size_of_the_model_chooses_the_way(size: Any, route: str) -> None:
    llm = ScriptedLLM([], profile=Profile(size=size))
    for take, expected in [("auto", route), ("quoted", "quoted"), ("written", "written")]:
        step = RouteBySize(small="quoted", strong="written", take=take)
        assert Flow(step, resources={"llm": llm}).invoke(query="Why?")["route"] == expected
    with pytest.raises(ConfigError, match="none of auto, quoted, written: writen"):
        RouteBySize(small="quoted", strong="written", take="writen")
