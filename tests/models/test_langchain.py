"""LangChain chat models in the place of the local engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from rag.errors import ModelError
from rag.kvcache.settings import ReuseSettings
from rag.models import LLM, Prompt, Sampling


def answers(*texts: str) -> Iterator[AIMessage]:
    return iter([AIMessage(text) for text in texts])


def test_a_chat_model_streams_through_the_same_interface() -> None:
    llm = LLM.load(GenericFakeChatModel(messages=answers("the keeper opens it")), base=Path())

    async def collect() -> list[Any]:
        return [piece async for piece in llm.stream(Prompt("who?", chunks=("a", "b")), Sampling())]

    *texts, last = asyncio.run(collect())
    assert "".join(texts) == last.text == "the keeper opens it"
    assert len(texts) > 1


def test_a_chat_model_comes_from_a_pipeline_file() -> None:
    spec = {
        "use": "langchain_core.language_models.fake_chat_models.FakeListChatModel",
        "responses": ["yes"],
    }
    found = asyncio.run(LLM.load(spec, base=Path()).generate(Prompt("?")))
    assert found.text == "yes"


def test_a_model_that_cannot_be_reached_is_said() -> None:
    class Unreachable(GenericFakeChatModel):
        """Raises as a client does without a network."""

        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            raise ConnectionError("connection refused")

        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            raise ConnectionError("connection refused")

    llm = LLM.load(Unreachable(messages=answers()), base=Path())
    with pytest.raises(ModelError, match="gave no answer: connection refused"):
        asyncio.run(llm.generate(Prompt("?")))


def test_a_remote_models_states_cannot_be_reused() -> None:
    llm = LLM.load(GenericFakeChatModel(messages=answers("yes")), base=Path())
    with pytest.raises(ModelError, match="cannot be reused") as caught:
        asyncio.run(llm.generate(Prompt("?", chunks=("a",)), reuse=ReuseSettings(mode="craft")))
    assert caught.value.fix
    full = ReuseSettings(mode="full")
    assert asyncio.run(llm.generate(Prompt("?"), reuse=full)).text == "yes"


@pytest.mark.parametrize("limit", [None, "num_predict"])
def test_an_endless_answer_ends(limit: str | None) -> None:
    """By the model where it knows a limit, under whatever name; else by us."""
    told: list[dict[str, Any]] = []

    class Endless(GenericFakeChatModel):
        """Says words without end, as streams do."""

        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            told.append(kwargs)
            for _ in range(kwargs.get("num_predict") or 100_000):
                yield ChatGenerationChunk(message=AIMessageChunk(content="word "))

    class Limited(Endless):
        """Knows a limit."""

        num_predict: int = 0

    kind = Limited if limit else Endless
    llm = LLM.load(kind(messages=answers()), base=Path())
    found = asyncio.run(llm.generate(Prompt("?"), Sampling(max_tokens=20)))
    assert found.text.startswith("word word")
    assert llm.count(found.text) <= 25
    assert found.finish == ("stop" if limit else "length")
    assert ("num_predict" in told[0]) == bool(limit)
