"""Pipelines side by side: failures count, runs resume, intervals are those of the bootstrap."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier

import pytest
from langchain_core.documents import Document

from rag import Flow, Interrupt, RunContext, operator
from rag.errors import InputError, ModelError
from rag.eval.answer_cache import AnswerCache
from rag.eval.answers import answer_rows, ask_all
from rag.eval.compare import Gain, paired_gain
from rag.eval.dataset import Query
from rag.eval.results import AnswerResult
from rag.eval.support import Judge

QUERIES = [
    Query(id=f"q{number}", text=text, relevant={}, answers=("120 m",))
    for number, text in enumerate(("right", "wrong", "broken"))
]
ASKED: list[str] = []


@operator(writes=("answer", "documents"))
def answer(query: str) -> tuple[str, list[Document]]:
    """Answer as the question says."""
    ASKED.append(query)
    if query == "broken":
        raise ModelError("the model is gone")
    said = {"right": "The lock is 120 m long [1].", "wrong": "<b>Nobody knows</b>."}[query]
    return said, [Document(page_content="The north lock is 120 m long.")]


def test_a_failure_is_a_wrong_answer() -> None:
    found = ask_all(Flow(answer()), QUERIES, Judge())
    assert [one.containment for one in found] == [1.0, 0.0, 0.0]
    assert [one.faithfulness for one in found] == [1.0, 0.0, None]
    assert [one.citation_recall for one in found] == [1.0, 0.0, None]
    assert [one.citation_precision for one in found] == [1.0, 0.0, None]
    assert found[2].error is not None
    assert "the model is gone" in found[2].error
    (row,) = answer_rows({"it": found})
    assert (row.questions, row.errors) == (3, 1)
    assert row.means["containment"] == pytest.approx(1 / 3)
    assert row.means["faithfulness"] == 0.5
    assert row.gains["containment"] == Gain(0.0, 0.0, 0.0)


def test_questions_asked_at_once_are_answered_in_their_order(tmp_path: Path) -> None:
    together = Barrier(2)

    @operator(writes="noted")
    def meet(query: str) -> str:
        """Go on when two are here."""
        together.wait(timeout=30)
        return query

    cache = AnswerCache(tmp_path / "it.jsonl", "digest", QUERIES[:2])
    flow = Flow(meet() >> answer())
    found = ask_all(flow, QUERIES[:2], Judge(), cache=cache, concurrency=2)
    assert [one.id for one in found] == [query.id for query in QUERIES[:2]]
    assert [one.containment for one in found] == [1.0, 0.0]
    assert [cache.get(query) for query in QUERIES[:2]] == found


@operator(writes="noted")
def spend(query: str, *, ctx: RunContext) -> str:
    """Use what a model would."""
    ctx.spend(llm_calls=2, tokens=70)
    return query


def test_a_failed_run_costs_what_it_spent() -> None:
    (found,) = ask_all(Flow(spend() >> answer()), QUERIES[2:], Judge())
    assert found.error is not None
    assert (found.llm_calls, found.tokens) == (2, 70)
    (done,) = ask_all(Flow(spend() >> answer()), QUERIES[:1], Judge())
    assert (done.error, done.llm_calls, done.tokens) == (None, 2, 70)


def test_a_pipeline_that_waits_for_a_person_is_refused() -> None:
    with pytest.raises(InputError, match="pauses for approval"):
        ask_all(Flow(answer() >> Interrupt("Is it right?")), QUERIES, Judge())


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    path, flow, judge = tmp_path / "it.jsonl", Flow(answer()), Judge()

    def cache() -> AnswerCache:
        return AnswerCache(path, "digest", QUERIES)

    first = ask_all(flow, QUERIES[:2], judge, cache=cache())
    with path.open("a") as file:
        file.write('{"id": "q2", "ans')  # killed while it wrote
    ASKED.clear()
    again = ask_all(flow, QUERIES, judge, cache=cache())
    assert (again[:2], ASKED) == (first, ["broken"])
    assert ask_all(flow, QUERIES, judge, cache=cache()) == again
    assert ASKED == ["broken"]


def test_the_paired_bootstrap() -> None:
    assert paired_gain([1, 1, 1], [0, 0, 0]) == Gain(1.0, 1.0, 1.0)
    assert paired_gain([1, 0], [1, 0]) == Gain(0.0, 0.0, 0.0)
    assert paired_gain([None, 1.0], [1.0, None]) is None
    assert paired_gain([None, 1.0], [1.0, 0.0]) == Gain(1.0, 1.0, 1.0)
    gain = paired_gain([1.0] * 60 + [0.0] * 40, [0.0] * 100)
    assert gain is not None
    # Of 100 draws of a coin of 0.6, 95 % of the means lie within 1.96 standard errors.
    assert gain.mean == pytest.approx(0.6)
    assert gain.low == pytest.approx(0.504, abs=0.015)
    assert gain.high == pytest.approx(0.696, abs=0.015)
    assert gain.significant
    assert gain == paired_gain([1.0] * 60 + [0.0] * 40, [0.0] * 100)


def results(values: list[float]) -> list[AnswerResult]:
    return [
        AnswerResult(
            str(n), "?", ("x",), "", containment=value, llm_calls=2, tokens=100, seconds=0.5
        )
        for n, value in enumerate(values)
    ]


def test_a_table_compares_with_the_first() -> None:
    table = answer_rows({"naive": results([0.0] * 20), "better": results([1.0] * 20)})
    assert [row.gains["containment"] for row in table] == [Gain(0, 0, 0), Gain(1, 1, 1)]
    assert [row.means["tokens"] for row in table] == [100.0, 100.0]
    assert [row.gains["faithfulness"] for row in table] == [None, None]
