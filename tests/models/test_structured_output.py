"""Answers as objects: constrained by the local engine, read tolerantly from others."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Literal

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from pydantic import BaseModel, Field

from rag.models import LLM, Prompt, Sampling, structured
from rag.models.local.grammar import grammar_tokenizer
from rag.models.local.model import LocalLLM


class Person(BaseModel):
    name: str = Field(max_length=40)
    age: int = Field(ge=0, le=150)
    mood: Literal["glad", "sad"] = "glad"


ASK = Prompt("Anna is 31 years old and smiles. Who is she?")


def remote(*texts: str) -> tuple[LLM, GenericFakeChatModel]:
    model = GenericFakeChatModel(messages=iter([AIMessage(text) for text in texts]))
    return LLM.load(model, base=Path()), model


def test_the_local_engine_can_write_nothing_else(llm: LLM) -> None:
    found = asyncio.run(structured(llm, ASK, Person, Sampling(max_tokens=60))).value
    assert found is not None
    assert "Anna" in found.name
    assert 0 <= found.age <= 150


def test_every_draw_fits_the_schema(llm: LLM) -> None:
    for seed in range(3):
        wild = Sampling(max_tokens=90, temperature=2.0, seed=seed)
        assert asyncio.run(structured(llm, ASK, Person, wild)).value is not None


def test_an_object_that_is_cut_off_is_none(llm: LLM) -> None:
    assert asyncio.run(structured(llm, ASK, Person, Sampling(max_tokens=4))).value is None


def test_without_the_library_the_local_answer_is_read(
    llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    grammar_tokenizer.cache_clear()
    monkeypatch.setitem(sys.modules, "llguidance.hf", None)
    found = asyncio.run(structured(llm, ASK, Person, Sampling(max_tokens=60))).value
    grammar_tokenizer.cache_clear()
    assert found is None or isinstance(found, Person)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Bo", "age": 4}',
        'Sure!\n```json\n{"name": "Bo", "age": 4}\n```\nAnything else?',
        "{'name': 'Bo', 'age': 4,}",
        '{"name": "Bo", "age": 4} {"name": "Other", "age": 9}',
        '{"name": "Bo", "age": "4", "hat": "red"',
        '{name: "Bo", age: 4, mood: "glad"} // as you wished',
    ],
)
def test_nearly_right_is_right(text: str) -> None:
    llm, _ = remote(text)
    assert asyncio.run(structured(llm, ASK, Person)).value == Person(name="Bo", age=4)


@pytest.mark.parametrize("wrong", ["no idea", " ", '{"name": "Bo"}', "[]", "{" * 300, "\u202e\x07"])
def test_a_wrong_answer_gets_one_more_chance(wrong: str) -> None:
    llm, _ = remote(wrong, '{"name": "Bo", "age": 4}')
    assert asyncio.run(structured(llm, ASK, Person)).value == Person(name="Bo", age=4)
    llm, model = remote(wrong, wrong, '{"name": "Bo", "age": 4}')
    assert asyncio.run(structured(llm, ASK, Person)).value is None
    assert next(model.messages).text.startswith("{"), "asked a third time"


def test_the_second_question_says_what_was_wrong() -> None:
    seen: list[str] = []

    class Listening(GenericFakeChatModel):
        def _generate(self, messages: list, *args: object, **kwargs: object) -> object:
            seen.append(str(messages[-1].content))
            return super()._generate(messages, *args, **kwargs)

    model = Listening(messages=iter([AIMessage('{"name": "Bo"}'), AIMessage("{}")]))
    assert asyncio.run(structured(LLM.load(model, base=Path()), ASK, Person)).value is None
    assert "age: Field required" in seen[1]
