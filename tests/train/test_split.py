"""The split of questions: none is on both sides, nearly equal ones stay together."""

from __future__ import annotations

from itertools import combinations

import pytest

from rag.errors import ConfigError
from rag.eval.dataset import Dataset, Query
from rag.train.asked import questions, with_corpus
from rag.train.split import ALIKE, alike, groups, refuse_leak

LONG = "what are the effects of shock waves on the flow over a swept wing at high speed"


def data(*texts: str, name: str = "data") -> Dataset:
    queries = [Query(f"q{n}", text, {f"d{n}": 1}, ()) for n, text in enumerate(texts)]
    return Dataset(name, [], queries)


def test_pairs_are_those_that_comparing_all_of_them_finds() -> None:
    words = [f"w{n}" for n in range(30)]
    texts = [" ".join(words[a : a + 13] + words[b : b + 2]) for a in range(8) for b in range(14)]
    sets = [set(one.split()) for one in texts]
    wanted = {
        (a, b)
        for a, b in combinations(range(len(texts)), 2)
        if len(sets[a] & sets[b]) >= ALIKE * len(sets[a] | sets[b])
    }
    assert set(alike(texts)) == wanted
    assert 50 < len(wanted) < len(texts) ** 2 / 4


def test_nearly_equal_questions_are_one_group() -> None:
    found = groups([LONG, "How long is it?", f"{LONG.upper()}?", LONG.replace("high", "low"), "!"])
    assert [one == found[0] for one in found] == [True, False, True, True, False]


def test_a_question_that_is_learned_and_tested_is_refused() -> None:
    learned = data("How deep is it?", LONG)
    refuse_leak(learned, [data("How long is it?")])
    for text in ("how deep is it", LONG.replace("high", "low")):
        with pytest.raises(ConfigError, match=r"'q\d' is 'q0' of tests, which is to test"):
            refuse_leak(learned, [data(text, name="tests")])


def test_a_split_keeps_nearly_equal_questions_together() -> None:
    texts = [f"{LONG} case{n} variant{n} number{n}" for n in range(40)]
    given = data(*texts, *(f"{one} please" for one in texts))
    found = questions(given, seed=3)
    sides = ({one.text.removesuffix(" please") for one in side.queries}
             for side in (found.learned, found.held_out))  # fmt: skip
    learned, held = sides
    assert not learned & held
    assert (len(found.learned.queries), len(found.held_out.queries)) == (40, 40)
    assert questions(given, seed=3).digest == found.digest
    assert questions(given, seed=4).digest != found.digest


def test_a_question_whose_judgements_are_all_zero_is_left_out() -> None:
    given = data(*(f"{n} is what" for n in range(40)))
    zero = Query("zero", "nothing at all", {"d1": 0}, ())
    found = questions(Dataset("data", [], [*given.queries, zero]))
    assert "zero" not in {one.id for one in (*found.learned.queries, *found.held_out.queries)}


def test_passages_of_questions_become_their_documents() -> None:
    queries = [
        Query("a", "A?", {}, (), passages=("x", "y")),
        Query("b", "B?", {}, (), passages=("y",)),
    ]
    found = with_corpus(Dataset("d", [], queries), None)
    assert [one.page_content for one in found.documents] == ["x", "y"]
    assert [one.relevant for one in found.queries] == [{"p1": 1, "p2": 1}, {"p2": 1}]
