"""Answers in a file: only an incomplete line is lost, nothing stale is used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import ConfigError
from rag.eval.answer_cache import AnswerCache
from rag.eval.dataset import Query
from rag.eval.results import AnswerResult, SourceText

GOLD = ("120 m",)
# Ends of lines to `splitlines`, and characters of two, three and four bytes.
TEXT = "L\u00e4nge\u2028der\u0085Schleuse\x0b\x1c: 120\u202fm \U0001f6a2"


def query(number: int) -> Query:
    return Query(f"q{number}", f"{TEXT} {number}?", {}, GOLD)


def result(number: int, answer: str = TEXT) -> AnswerResult:
    one = query(number)
    return AnswerResult(
        one.id,
        one.text,
        one.answers,
        answer,
        containment=1.0,
        tokens=100,
        sources=(SourceText("a.md", answer, relevant=True),),
        prompts=(answer,),
    )


QUERIES = [query(number) for number in range(3)]


def written(path: Path, *results: AnswerResult) -> AnswerCache:
    cache = AnswerCache(path, "digest", QUERIES)
    for one in results:
        cache.add(one)
    return cache


def test_a_file_cut_anywhere_loses_its_last_line_at_most(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    written(whole, result(0), result(1))
    text = whole.read_bytes()
    ends = [at for at, one in enumerate(text) if one == ord("\n")]
    for cut in range(len(text) + 1):
        path.write_bytes(text[:cut])
        # A line that lacks its end of line only is whole.
        good = sum(cut >= end for end in ends)
        found = [AnswerCache(path, "digest", QUERIES).get(one) for one in QUERIES]
        assert found == [result(n) if n < good else None for n in range(3)]
        written(path, result(2))
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
        assert [json.loads(line)["id"] for line in lines] == [*["q0", "q1"][:good], "q2"]


@given(st.text(st.characters(categories=None)))
def test_any_answer_comes_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("cache") / "it.jsonl"
    written(path, result(0, text), result(1))
    cache = AnswerCache(path, "digest", QUERIES)
    assert [cache.get(one) for one in QUERIES] == [result(0, text), result(1), None]


def test_what_does_not_hold_is_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "it.jsonl"
    written(path, *(result(number) for number in range(3)))
    now = [replace(QUERIES[0], text="other"), replace(QUERIES[1], answers=("130 m",)), QUERIES[2]]
    cache = AnswerCache(path, "digest", now)
    assert [cache.get(one) for one in now] == [None, None, result(2)]
    assert len(path.read_text().split("\n")) == 2
    assert AnswerCache(path, "another", now).get(QUERIES[2]) is None
    assert path.read_text() == ""


def test_lines_of_other_questions_stay(tmp_path: Path) -> None:
    path = tmp_path / "it.jsonl"
    written(path, result(0), result(1))
    before = path.read_bytes()
    assert AnswerCache(path, "digest", QUERIES[1:2]).get(QUERIES[1]) == result(1)
    assert path.read_bytes() == before


def test_of_two_lines_the_last_holds(tmp_path: Path) -> None:
    path = tmp_path / "it.jsonl"
    written(path, result(0, "first"), result(0, "second"))
    assert AnswerCache(path, "digest", QUERIES).get(QUERIES[0]) == result(0, "second")
    assert path.read_bytes().count(b"\n") == 1


def test_a_place_that_is_no_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        AnswerCache(tmp_path / "folder", "digest", QUERIES)
    cache = written(tmp_path / "gone" / "it.jsonl")
    with pytest.raises(ConfigError, match="cannot be written"):
        cache.add(result(0))
