"""The report: alone, safe, filtered; what each answer was made of."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from rag.eval.answers import answer_rows
from rag.eval.gate import checks
from rag.eval.report import write_report
from rag.eval.results import AnswerResult, SourceText

RIGHT = AnswerResult(
    "q1", "How long is <the> lock?", ("120 m",), "120 m [1]", kind="single",
    containment=1.0, token_f1=0.8, gold_retrieved=1.0, gold_reranked=1.0, gold_read=1.0,
    llm_calls=2, tokens=300, seconds=1.5,
    sources=(SourceText("locks.md", "It is <b>120 m</b>.", relevant=True),),
    prompts=("Answer </script> this",),
)  # fmt: skip
WRONG = replace(RIGHT, answer="130 m", containment=0.0)
UNKNOWN = AnswerResult(
    "q2", "What salary?", (), "3000", answerable=False, kind="none", containment=0.0, abstention=0.0
)


def report(tmp_path: Path, **results: list[AnswerResult]) -> str:
    path = tmp_path / "report.html"
    rows = answer_rows(results)
    settings = dict.fromkeys(results, "steps: [{use: <generate>}]")
    gate = checks(results, "containment", -0.5) if len(results) > 1 else []
    write_report(path, "locks & <bridges>", rows, results, settings, checks=gate, made="today")
    return path.read_text(encoding="utf-8")


def data_of(text: str) -> list[dict[str, str]]:
    tags = re.findall(r'<details class="question"([^>]*)>', text)
    return [dict(re.findall(r'data-(\w+)="([^"]*)"', tag)) for tag in tags]


def test_it_loads_nothing_and_is_the_same_every_time(tmp_path: Path) -> None:
    text = report(tmp_path, before=[RIGHT, UNKNOWN], after=[WRONG, UNKNOWN])
    assert not re.search(r'(?:src|href)="(?!#)', text)
    assert report(tmp_path, before=[RIGHT, UNKNOWN], after=[WRONG, UNKNOWN]) == text


def test_it_quotes_safely(tmp_path: Path) -> None:
    text = report(tmp_path, one=[RIGHT])
    assert "locks &amp; &lt;bridges&gt;" in text
    assert "It is &lt;b&gt;120 m" in text
    assert "Answer &lt;/script&gt; this" in text
    assert text.count("</script>") == 1


def test_questions_are_marked_for_the_filters(tmp_path: Path) -> None:
    text = report(tmp_path, before=[RIGHT, UNKNOWN, RIGHT], after=[WRONG, UNKNOWN, RIGHT])
    assert data_of(text) == [
        {"differs": "1", "wrong": "1", "worse": "1", "lost": "generation", "kind": "single"},
        {"differs": "0", "wrong": "1", "worse": "0", "lost": "abstention", "kind": "none"},
        {"differs": "0", "wrong": "0", "worse": "0", "lost": "", "kind": "single"},
    ]


def test_one_pipeline_is_compared_with_nothing(tmp_path: Path) -> None:
    text = report(tmp_path, one=[RIGHT])
    assert 'name="wrong"' in text
    assert 'name="worse"' not in text


@pytest.mark.parametrize(
    "part",
    [
        "2 LLM calls, 300 tokens, 1.50 s",
        '<p class="relevant">[1] locks.md</p>',
        "steps: [{use: &lt;generate&gt;}]",
        "after fails: containment -1.000 [-1.000, -1.000], limit -0.500",
        "Made today",
        "lost in generation",
    ],
)
def test_it_shows_what_an_answer_was_made_of(tmp_path: Path, part: str) -> None:
    assert part in report(tmp_path, before=[RIGHT], after=[WRONG])


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"gold_retrieved": 0.0}, "retrieval"),
        ({"gold_reranked": 0.0, "gold_read": 0.0}, "reranking"),
        ({"gold_read": 0.0}, "selection"),
        ({"gold_reranked": None}, "generation"),
        ({}, "generation"),
        ({"error": "gone", "gold_read": 0.0}, "error"),
        ({"answerable": False}, "abstention"),
        ({"correctness": 0.75}, ""),
        ({"containment": 1.0, "correctness": 0.25}, "generation"),
        ({"containment": 1.0}, ""),
    ],
)
def test_where_an_answer_was_lost(change: dict[str, object], lost: str) -> None:
    assert replace(WRONG, **change).lost == lost  # type: ignore[arg-type]


def test_all_axes_start_at_zero() -> None:
    from matplotlib import pyplot

    from rag.eval import plots

    results = {"a": [RIGHT], "b": [replace(RIGHT, tokens=310)]}
    for axis in plots.costs(pyplot, results).axes:
        assert axis.get_xlim()[0] == 0
        assert axis.get_ylim() == (0, 1)
    assert plots.losses(pyplot, results).axes[0].get_xlim() == (0, 1)
    pyplot.close("all")
