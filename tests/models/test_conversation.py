"""Conversations with the real small model: what a second turn computes, and what it answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rag.kvcache.passes import Pass
from rag.kvcache.settings import ReuseSettings
from rag.models import Generation, Prompt, Sampling
from rag.models.local.model import LocalLLM
from rag.prompts.layout import messages

SOURCES = (
    "The ferry to the island leaves at nine in the morning and at six in the evening.",
    "A ticket for the ferry costs four euros. Children under six travel free.",
    "The lighthouse was built in 1884 by the engineer Maria Holm.",
)
ASKED = "When does the ferry leave?"
NEXT = "And what does it cost?"


def prompt(question: str, *earlier: tuple[str, str], **more: Any) -> Prompt:
    fields: dict[str, Any] = {"chunks": SOURCES, "numbered": False, "continues": True, **more}
    return Prompt(question, "Answer from the sources.", history=earlier, **fields)


def second(answer: str, **more: Any) -> Prompt:
    return prompt(NEXT, ("user", ASKED), ("assistant", answer), **more)


def test_sources_that_are_reused_come_before_the_turns() -> None:
    first, *later = messages(second("At nine."))[1:]
    assert all(source in first[1] for source in SOURCES)
    assert first[1] == messages(prompt(ASKED))[1][1]
    assert later == [("assistant", "At nine."), ("user", NEXT)]
    *_, last = messages(second("At nine.", numbered=True))
    assert all(source in last[1] for source in SOURCES)


def test_a_turn_s_tokens_are_those_of_the_turn_before_it(llm: LocalLLM) -> None:
    one = llm.template.tokenize(prompt(ASKED))
    two = llm.template.tokenize(second("At nine."))
    three = llm.template.tokenize(
        prompt("Thanks!", *second("At nine.").history, ("user", NEXT), ("assistant", "Four."))
    )
    assert one.turns == []
    assert (two.prefix, two.chunks) == (one.prefix, one.chunks)
    assert two.turns == [[*one.suffix, *llm.template.encode("At nine.")]]
    assert three.turns == [*two.turns, [*two.suffix, *llm.template.encode("Four.")]]
    whole = llm.tokenizer.decode(three.ids)
    assert len(three.ids) == three.total
    marked = [
        {"role": role, "content": text}
        for role, text in messages(
            prompt("Thanks!", *second("At nine.").history, ("user", NEXT), ("assistant", "Four."))
        )
    ]
    rendered = llm.tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True)
    assert whole == rendered


def generate(llm: LocalLLM, one: Prompt, mode: str | None) -> Generation:
    async def collect() -> Generation:
        reuse = None if mode is None else ReuseSettings(mode)
        *_, done = [piece async for piece in llm.stream(one, Sampling(max_tokens=24), reuse)]
        assert isinstance(done, Generation)
        return done

    return asyncio.run(collect())


@pytest.mark.parametrize("mode", ["prefix", "focus", "craft"])
def test_the_second_turn_computes_its_question(
    llm: LocalLLM, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = llm.salted(mode)
    first = generate(own, prompt(ASKED), mode)
    sizes: list[int] = []
    steps = type(llm.engine.view).steps

    def counted(view: Any, passes: list[Pass]) -> Any:
        sizes.extend(len(one.ids) for one in passes)
        return steps(view, passes)

    monkeypatch.setattr(type(llm.engine.view), "steps", counted)
    done = generate(own, second(first.text), mode)
    assert sizes[0] == len(own.template.tokenize(second(first.text)).suffix)
    assert max(sizes[1:], default=0) <= 9
    assert done.reuse is not None
    assert done.reuse["recomputed"] == 0


def test_a_prompt_without_a_next_turn_keeps_nothing(llm: LocalLLM) -> None:
    own = llm.salted("alone")
    first = generate(own, prompt(ASKED, continues=False), "focus")
    done = generate(own, second(first.text), "focus")
    assert done.reuse is not None
    assert done.reuse["recomputed"] > 0
