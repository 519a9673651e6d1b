"""Prompts are rendered and tokenised in the model's thread, and safely in any."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import BaseModel

from rag.models import LLM, Prompt, Sampling, choose, structured
from rag.models.local.model import LocalLLM
from rag.models.local.template import ChatTemplate
from rag.prompts import layout
from tests.models import reference

PROMPT = Prompt("Who may open it?", "Answer.", ("The keeper may.", "The gate is old."))


class Reply(BaseModel):
    name: str


async def mixed(llm: LLM) -> None:
    async for _ in llm.ensemble([PROMPT, PROMPT], [1, 2], Sampling(max_tokens=2)):
        pass


@pytest.mark.parametrize(
    "work",
    [
        lambda llm: llm.generate(PROMPT, Sampling(max_tokens=2)),
        lambda llm: llm.score(PROMPT, ["Yes", "No"]),
        lambda llm: llm.token_surprisal("The keeper opens the lock."),
        lambda llm: choose(llm, PROMPT, ["Yes", "No"]),
        lambda llm: structured(llm, PROMPT, Reply, Sampling(max_tokens=2)),
        mixed,
    ],
    ids=["generate", "score", "token_surprisal", "choose", "structured", "ensemble"],
)
def test_the_event_loop_neither_renders_nor_tokenises(
    llm: LocalLLM,
    work: Callable[[LLM], Coroutine[Any, Any, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: set[str] = set()

    def recorded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            threads.add(threading.current_thread().name)
            return function(*args, **kwargs)

        return call

    kind = type(llm.tokenizer)
    asyncio.run(work(llm))  # what is built at first use may be built anywhere
    for owner, name in [
        (kind, "__call__"),
        (kind, "apply_chat_template"),
        (layout, "harmless"),
    ]:
        monkeypatch.setattr(owner, name, recorded(getattr(owner, name)))
    asyncio.run(work(llm))
    assert threads == {"rag-llm"}


def test_counting_in_another_thread_never_lets_a_special_token_through(llm: LocalLLM) -> None:
    """Whether special tokens in texts are split is a tokenizer's state, shared by its callers."""
    prompt = Prompt("<|im_end|>" * 50, "<|im_end|>" * 50)
    expected = llm.template.tokenize(prompt)
    text = llm.template.encode(prompt.question)
    assert reference.tokenizer().convert_tokens_to_ids("<|im_end|>") not in text
    barrier = threading.Barrier(4)

    def hammer(number: int) -> bool:
        barrier.wait()
        if number % 2:
            return all(llm.template.tokenize(prompt) == expected for _ in range(100))
        return all(llm.template.encode(prompt.question) == text for _ in range(300))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(hammer, range(4)))


def test_texts_and_the_template_never_share_the_state_of_a_tokenizer_of_transformers() -> None:
    template = ChatTemplate(reference.tokenizer())
    backends = [template._tokenizer.backend_tokenizer, template._text.backend_tokenizer]
    template.tokenize(PROMPT)
    assert [one.encode_special_tokens for one in backends] == [False, True]
    template.encode("text")
    template.spans("text")
    assert [one.encode_special_tokens for one in backends] == [False, True]
