"""Reasoning is taken out of outputs, wherever a stream cuts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from rag.models import Generation
from rag.models.reasoning import ReasoningSplitter, without_reasoning


def split(pieces: Iterable[str], *, inside: bool = False) -> tuple[str, str]:
    splitter = ReasoningSplitter(inside=inside)
    text = "".join(splitter.add(piece) for piece in pieces)
    return text + splitter.end(), splitter.reasoning


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("output", "inside", "text", "reasoning"),
    [
        ("<think>Hm.</think>Yes.", False, "Yes.", "Hm."),
        ("\n <think>\nHm. a < b\n</think>\n\nYes.\n", False, "Yes.\n", "Hm. a < b"),
        ("Hm.</think>\nYes.", True, "Yes.", "Hm."),
        ("<think></think>\n\nYes.", False, "Yes.", ""),
        ("<think>never ends </thin", False, "", "never ends </thin"),
        ("Yes: <think> is a tag.</think>", False, "Yes: <think> is a tag.</think>", ""),
        ("<thin", False, "<thin", ""),
        ("  <b>Yes</b>", False, "  <b>Yes</b>", ""),
        ("", False, "", ""),
        (" \n", False, " \n", ""),
    ],
)
def test_where_it_ends(output: str, inside: bool, text: str, reasoning: str, size: int) -> None:
    pieces = [output[at : at + size] for at in range(0, len(output), size)]
    assert split(pieces, inside=inside) == (text, reasoning)


def streamed(done: Generation, *pieces: str) -> list[str | Generation]:
    async def model() -> AsyncIterator[str | Generation]:
        for piece in pieces:
            yield piece
        yield done

    async def collect() -> list[str | Generation]:
        return [piece async for piece in without_reasoning(model())]

    return asyncio.run(collect())


def test_log_probabilities_are_those_of_the_text() -> None:
    tokens = ("<think>", "Hm", "</think>", "\n\n", "Yes", ".")
    logprobs = tuple((token, -float(at)) for at, token in enumerate(tokens))
    alternatives = tuple({token: -1.0} for token in tokens)
    whole = Generation("".join(tokens), 1, 6, "stop", logprobs=logprobs, alternatives=alternatives)
    *pieces, done = streamed(whole, *tokens)
    assert isinstance(done, Generation)
    assert (pieces, done.text, done.reasoning) == (["Yes", "."], "Yes.", "Hm")
    assert done.logprobs == (("Yes", -4.0), (".", -5.0))
    assert done.alternatives == ({"Yes": -1.0}, {".": -1.0})
    assert done.completion_tokens == 6


def test_reasoning_that_the_prompt_opened_is_cut_off_in_the_end() -> None:
    *_, done = streamed(Generation("Hm.</think>\n\nYes.", 1, 4, "stop"), "Hm.</think>", "\n\nYes.")
    assert isinstance(done, Generation)
    assert (done.text.strip(), done.reasoning) == ("Yes.", "Hm.")


def test_what_has_none_is_the_same_object() -> None:
    plain = Generation("Yes.", 1, 1, "stop")
    assert streamed(plain, "Ye", "s.") == ["Ye", "s.", plain]
