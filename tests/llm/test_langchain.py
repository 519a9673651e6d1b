"""LangChain chat models in the place of the local engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from rag.errors import ModelError
from rag.llm import LLM, Prompt, Sampling


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
