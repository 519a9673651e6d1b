"""Pipelines side by side: failures count, runs resume, intervals are those of the bootstrap."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag import Flow, operator
from rag.errors import ModelError
from rag.eval.beir import Query
from rag.eval.bench import Asked, ask_all, paired, rows

QUERIES = [
    Query(id=f"q{number}", text=text, relevant={}, answers=("120 m",))
    for number, text in enumerate(("right", "wrong", "broken"))
]
ASKED: list[str] = []


@operator(writes="answer")
def answer(query: str) -> str:
    """Answer as the question says."""
    ASKED.append(query)
    if query == "broken":
        raise ModelError("the model is gone")
    return {"right": "It is 120 m long.", "wrong": "No."}[query]


def quiet(done: int, total: int) -> None:
    """No progress bar."""


def test_a_failure_is_a_wrong_answer() -> None:
    found = ask_all(Flow(answer()), QUERIES, None, quiet)
    assert [one.containment for one in found] == [1.0, 0.0, 0.0]
    assert found[2].error is not None
    assert "the model is gone" in found[2].error
    (row,) = rows({"it": found}, "it")
    assert (row.questions, row.errors, row.gain) == (3, 1, 0.0)
    assert row.containment == pytest.approx(1 / 3)


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    kept = tmp_path / "it.jsonl"
    first = ask_all(Flow(answer()), QUERIES[:2], kept, quiet)
    with kept.open("a") as file:
        file.write('{"id": "q2", "ans')  # killed while it wrote
    ASKED.clear()
    again = ask_all(Flow(answer()), QUERIES, kept, quiet)
    assert (again[:2], ASKED) == (first, ["broken"])
    assert ask_all(Flow(answer()), QUERIES, kept, quiet) == again
    assert ASKED == ["broken"]


def test_the_paired_bootstrap() -> None:
    assert paired([1, 1, 1], [0, 0, 0]) == (1.0, 1.0, 1.0)
    assert paired([1, 0], [1, 0]) == (0.0, 0.0, 0.0)
    gain, low, high = paired([1.0] * 60 + [0.0] * 40, [0.0] * 100)
    # Of 100 draws of a coin of 0.6, 95 % of the means lie within 1.96 standard errors.
    assert gain == pytest.approx(0.6)
    assert (low, high) == (pytest.approx(0.504, abs=0.015), pytest.approx(0.696, abs=0.015))
    assert paired([1, 0, 1], [0, 0, 1]) == paired([1, 0, 1], [0, 0, 1])


def test_a_table_compares_with_the_baseline() -> None:
    def asked(values: list[float]) -> list[Asked]:
        return [Asked(str(n), "", 0, 0, value, 2, 100, 0.5) for n, value in enumerate(values)]

    table = rows({"naive": asked([0.0] * 20), "better": asked([1.0] * 20)}, "naive")
    assert [(row.gain, row.low, row.llm_calls, row.tokens) for row in table] == [
        (0.0, 0.0, 2.0, 100.0),
        (1.0, 1.0, 2.0, 100.0),
    ]
