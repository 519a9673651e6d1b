"""Faithfulness as RAGAS, citations as ALCE count them, correctness by grades."""

from __future__ import annotations

import re

import pytest
from langchain_core.documents import Document

from rag.eval.support import Judge, Verdict
from rag.flow.run.runtime import RUNTIME
from rag.testing import ScriptedLLM

TEXTS = ("The lock is 120 m long.", "Built by Mayor Finch in 1911.", "Soup is served at noon.")
DOCUMENTS = [Document(page_content=text) for text in TEXTS]


def verdict(answer: str, judge: Judge | None = None, **known: object) -> Verdict:
    judge = judge or Judge()
    return RUNTIME.run(judge.judge(answer, DOCUMENTS, **known))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "faithful"),
    [
        ("The lock is 120 m long [1]. Elephants swim.", 0.5),
        # Each source has one half of the sentence: the context as a whole supports it.
        ("Long lock 120 stone wood iron Mayor Finch 1911 [1][2].", 1.0),
        ("", None),
        ("[1]", None),
        ("The sources do not say.", None),
    ],
)
def test_faithfulness_is_judged_by_the_joined_context(answer: str, faithful: float | None) -> None:
    assert verdict(answer).faithfulness == faithful


@pytest.mark.parametrize(
    ("answer", "recall", "precision"),
    [
        # One sentence is cited well, the other not at all.
        ("The lock is 120 m long [1]. It was built in 1911.", 0.5, 1.0),
        # The mark stands behind the full stop; the second source adds nothing.
        ("The lock is 120 m long. [1][3]", 1.0, 0.5),
        # Each source has one half of the sentence: without either it is not supported.
        ("Long lock 120 stone wood iron Mayor Finch 1911 [1][2].", 1.0, 1.0),
        # A sentence with a source that does not exist: no citation of it is counted.
        ("The lock is 120 m long [1][9]. The lock is 120 m long [1].", 0.5, 1.0),
        ("The lock is 120 m long [9].", 0.0, 0.0),
        ("The lock is 120 m long [0].", 0.0, 0.0),
        # A mark twice counts twice.
        ("The lock is 120 m long [1][1][3].", 1.0, 2 / 3),
        # The fourth citation of a sentence is not looked at.
        ("Elephants [3][3][3][1].", 0.0, 0.0),
        ("Elephants swim in soup [1].", 0.0, 0.0),
        ("The lock is 120 m long.", 0.0, 0.0),
        ("The sources do not say.", None, None),
        ("", None, None),
    ],
)
def test_citations(answer: str, recall: float | None, precision: float | None) -> None:
    found = verdict(answer)
    assert found.citation_recall == recall
    assert found.citation_precision == pytest.approx(precision)


def test_a_model_splits_the_answer_and_judges_each_statement_by_all_sources() -> None:
    llm = ScriptedLLM(
        {
            "claims": "1. The lock is long.\n2. It has a mayor.",
            "grade_verify": lambda prompt: "4" if "long" in prompt.question else "1",
            "grade_correct": "3",
        }
    )
    found = verdict("The lock, long, has a mayor.", Judge("llm", {"llm": llm}), query="What?")
    assert found.faithfulness == 0.5
    asked = [call.prompt.chunks for call in llm.calls if call.name == "grade_verify"]
    assert all(text in asked[0][0] for text in TEXTS)


def test_where_a_model_writes_no_statements_the_sentences_are_judged() -> None:
    llm = ScriptedLLM({"claims": "", "grade_verify": "4"})
    assert verdict("It is. It was.", Judge("llm", {"llm": llm})).faithfulness == 1.0


def test_correctness_is_the_grade_of_the_best_reference() -> None:
    llm = ScriptedLLM(
        {
            "claims": "It is long.",
            "grade_verify": "0",
            "grade_correct": lambda prompt: "4" if "Reference answer: 120" in prompt.question
            else "1",
        }
    )  # fmt: skip
    judge = Judge("llm", {"llm": llm})
    known = {"query": "How long?", "references": ("130 m", "120 m")}
    assert verdict("120 metres", judge, **known).correctness == 1.0
    assert verdict("", judge, **known).correctness == 0.0
    assert verdict("120 metres").correctness is None


def test_of_an_unanswerable_question_the_reference_is_an_abstention() -> None:
    llm = ScriptedLLM({"grade_correct": "4"})
    judge = Judge("llm", {"llm": llm})
    assert verdict("The sources do not say.", judge, answerable=False).correctness == 1.0
    assert "Reference answer: The sources do not say." in llm.prompts[0].question
    assert re.search(r"\nAnswer: The sources do not say", llm.prompts[0].question)
