"""A test set of what users said of answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rag.errors import ConfigError
from rag.eval.feedback import questions_of_feedback
from rag.eval.questions import read_questions
from tests.cli.command import rag

SOURCES = [
    {"path": "locks.md", "place": "locks.md, North", "quote": "It is 120 m long.", "cited": True},
    {"path": "boats.md", "place": "boats.md", "quote": None, "cited": False},
]


def rated(question: str, rating: str = "good", **more: Any) -> dict[str, Any]:
    row = {"question": question, "answer": "It is 120 m long [1].", "rating": rating}
    return {**row, "comment": "", "correction": "", "sources": SOURCES, "user": "ann", **more}


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_ratings_become_questions(tmp_path: Path) -> None:
    file = written(
        tmp_path / "feedback.jsonl",
        rated("How long is it?"),
        rated("How long is it? ", "bad", correction="90 m"),  # rated before
        rated("Who opens it?", "bad", correction="The keeper."),
        rated("Who shuts it?", "bad", comment="no"),
        rated("Who paints it?", answer="The sources do not say."),
        rated("Who owns it?", "bad", correction="The sources do not say."),
    )
    out = tmp_path / "questions.jsonl"
    command = ("eval", "make", "--from-feedback", str(file), "--out", str(out), "--json")
    counts = {"praised": 1, "corrected": 1, "none": 2}
    assert json.loads(rag(*command, cwd=tmp_path)) == {"file": str(out), **counts}
    assert questions_of_feedback(file)[1] == 1
    length, opens, paints, owns = read_questions(out).queries
    assert (length.text, length.answers) == ("How long is it?", ("It is 120 m long.",))
    assert (list(length.relevant), length.passages) == (["locks.md"], ("It is 120 m long.",))
    assert (opens.answers, opens.relevant, opens.passages) == (("The keeper.",), {}, ())
    assert not paints.answerable
    assert not owns.answerable


def test_what_is_no_export_is_refused_with_its_line(tmp_path: Path) -> None:
    file = written(tmp_path / "feedback.jsonl", rated("Who?"), {"question": "Who?"})
    with pytest.raises(ConfigError, match=r"feedback.jsonl:2: rating"):
        questions_of_feedback(file)
