"""Choices among allowed answers, by log-probabilities and by reading an answer."""

from __future__ import annotations

import asyncio

import pytest

from rag.errors import InputError
from rag.models import LLM, Prompt, choose
from rag.models.choice import named_option
from tests.models.test_logprobs import CAPITAL, remote


def test_the_local_choice_is_among_the_options(llm: LLM) -> None:
    options = ["Paris", "the city of Berlin", "a banana"]
    choice = asyncio.run(choose(llm, CAPITAL, options))
    assert choice.option == "Paris"
    assert choice.certain
    assert sum(choice.probabilities.values()) == pytest.approx(1)
    assert set(choice.probabilities) == set(options)
    assert max(choice.probabilities, key=lambda o: choice.probabilities[o]) == "Paris"


@pytest.mark.parametrize(
    ("said", "option", "certain"),
    [
        ("no", "no", True),
        ("  **NO!** ", "no", True),
        ("No, since nothing says so; yes would be wrong", "no", True),
        ("Answer: not_sure", "not sure", True),
        ("I know nothing", "yes", False),
        ("", "yes", False),
        ("🤷 nonsense " * 500, "yes", False),
    ],
)
def test_a_remote_answer_is_read_tolerantly(said: str, option: str, certain: bool) -> None:
    choice = asyncio.run(choose(remote(said or " "), Prompt("?"), ["yes", "no", "not sure"]))
    assert (choice.option, choice.certain) == (option, certain)
    assert sum(choice.probabilities.values()) == pytest.approx(1)


def test_the_longer_option_is_meant() -> None:
    assert named_option("South lock, east gate", ["south lock", "south lock east"]) == (
        "south lock east"
    )
    assert named_option("irrelevant", ["relevant", "irrelevant"]) == "irrelevant"


@pytest.mark.parametrize(
    ("said", "option"),
    [
        ("There is no doubt that it does: Yes", "yes"),
        ("I cannot say yes; no.", "no"),
        ("No-one else may, so the answer is yes.", "yes"),
        ("Yes - it may, there is no doubt", "yes"),
        ("**No**\nIt would be wrong to say yes", "no"),
        ("It could be no.\n\nAnswer: **Yes**", "yes"),
        ("The answer is yes, not no.", "yes"),
        ("yes/no: no", "no"),
        ("I would say no here, whatever it means to you", "no"),
        ("I say it is, so not sure", "not sure"),
    ],
)
def test_what_an_answer_comes_to_is_meant(said: str, option: str) -> None:
    assert named_option(said, ["yes", "no", "not sure"]) == option


@pytest.mark.parametrize(
    "said",
    [
        "The answer is not Yes.",
        "Not yes",
        "I cannot say yes",
        "Neither Yes nor No.",
        "Answer Yes or No.",
    ],
)
def test_what_is_denied_or_left_open_is_no_answer(said: str) -> None:
    assert named_option(said, ["Yes", "No"]) is None


@pytest.mark.parametrize("options", [[], ["a", "a"], ["a", " "]])
def test_wrong_options_are_said(options: list[str]) -> None:
    with pytest.raises(InputError, match="no options"):
        asyncio.run(choose(remote(), Prompt("?"), options))
    with pytest.raises(InputError, match="default"):
        asyncio.run(choose(remote(), Prompt("?"), ["a", "b"], default="c"))


def test_one_option_needs_no_model() -> None:
    assert asyncio.run(choose(remote(), Prompt("?"), ["a"])).option == "a"
