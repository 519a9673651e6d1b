"""Which answers give none: one rule for operators, evaluation and server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag.operators.acting import NOT_ANSWERED
from rag.operators.answering import DO_NOT_KNOW, NOTHING_FOUND
from rag.text.abstention import abstains, refuses

QUESTIONS = Path(__file__).parents[2] / "examples" / "questions.jsonl"


@pytest.mark.parametrize(
    "answer",
    [
        DO_NOT_KNOW,
        NOTHING_FOUND,
        NOT_ANSWERED.format(reason="the budget was used up"),
        "The provided context doesn\u2019t mention a salary.",
        "I don't know.",
        "The salary is not stated in the handbook.",
        "There is no information about it. The lock is long.",
        "Unknown.",
        "",
        " \n...",
        "Orders are signed by Ida Holm [1]. So the answer is: the sources do not say her floor.",
        "Ida Holm signs. So the answer is: unknown.",
        "I\u2019m sorry, but I can\u2019t help with that.",
    ],
)
def test_an_abstention(answer: str) -> None:
    assert abstains(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "120 m",
        "The gate does not open at night.",
        "No vessel may pass. The sources do not say why.",
        "Lunch is not provided.",
        "The lock was not included in the contract.",
        "Her name is not stated on the order [1]. She is the keeper. So the answer is: Ida Holm.",
        "Nobody knows the way better than the pilot.",
    ],
)
def test_no_abstention(answer: str) -> None:
    assert not abstains(answer)


def test_no_gold_answer_of_the_handbook_is_an_abstention() -> None:
    rows = [json.loads(line) for line in QUESTIONS.read_text().splitlines()]
    gold = [answer for row in rows for answer in row["answers"]]
    assert gold
    assert not any(abstains(answer) or abstains(f"It is {answer}.") for answer in gold)


@pytest.mark.parametrize(
    ("text", "declined"),
    [
        ("I'm sorry, but I can't assist with that request.", True),
        ("I cannot help with this.", True),
        ("Sorry, that is not possible.", True),
        ("The sources do not say.", False),
        ("The keeper is sorry that he cannot help.", False),
    ],
)
def test_a_refusal_is_told_from_an_answer(text: str, declined: bool) -> None:
    assert refuses(text) is declined
