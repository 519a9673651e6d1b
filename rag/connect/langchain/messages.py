"""LangChain's messages as a prompt in parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from rag.errors import InputError
from rag.prompts.layout import delimited
from rag.prompts.prompt import Prompt, Turn


def prompt_of(messages: Sequence[BaseMessage], *, numbered: bool = True) -> Prompt:
    """The prompt that a conversation is.

    Texts of system messages are joined; the last message is the question, and its blocks of the
    type `text-plain` are the chunks; those of earlier messages stay in their texts. Consecutive
    messages of one side are joined.

    Args:
        messages: The conversation; the last one is the user's.
        numbered: Whether the chunks are numbered.

    Raises:
        InputError: The last message is not the user's, or a message is no text.
    """
    if not messages or not isinstance(messages[-1], HumanMessage):
        last = type(messages[-1]).__name__ if messages else "missing"
        raise InputError(f"the last message is {last}", fix="end with a HumanMessage")
    system: list[str] = []
    turns: list[tuple[Literal["user", "assistant"], list[str]]] = []
    for message in messages[:-1]:
        if isinstance(message, SystemMessage):
            system.append(_text(message))
            continue
        role = _role(message)
        if not turns or turns[-1][0] != role:
            turns.append((role, []))
        turns[-1][1].append(_text(message))
    chunks, question = _parts(messages[-1])
    if turns and turns[-1][0] == "user":
        question = "\n\n".join([*turns.pop()[1], question])
    history: tuple[Turn, ...] = tuple((role, "\n\n".join(texts)) for role, texts in turns)
    return Prompt(question, "\n\n".join(system), tuple(chunks), history, numbered)


def _role(message: BaseMessage) -> Literal["user", "assistant"]:
    if isinstance(message, HumanMessage):
        return "user"
    if isinstance(message, AIMessage):
        return "assistant"
    raise InputError(
        f"a {type(message).__name__} has no place in a prompt",
        fix="give system, human and AI messages; tools are not supported",
    )


def _text(message: BaseMessage) -> str:
    chunks, text = _parts(message)
    return "".join([*map(delimited, chunks), text])


def _parts(message: BaseMessage) -> tuple[list[str], str]:
    """The chunks of a message, and its text."""
    chunks: list[str] = []
    texts: list[str] = []
    blocks: list[dict[str, Any]] = [dict(block) for block in message.content_blocks]
    for block in blocks:
        kind = block["type"]
        if kind == "text":
            texts.append(str(block["text"]))
        elif kind == "text-plain" and "text" in block:
            chunks.append(str(block["text"]))
        elif kind not in ("reasoning", "tool_call"):
            raise InputError(
                f"the model reads text only, and a message has a block of the type {kind!r}",
                fix="give blocks of the types `text` and `text-plain` with a text",
            )
    return chunks, "".join(texts)
