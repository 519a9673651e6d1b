"""Conversations with tool calls in LangChain's form, which every provider's class converts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rag.models.tool_calls import ToolCall, ToolDescription, ToolResult, ToolTurn
from rag.prompts.layout import delimited, messages
from rag.prompts.prompt import Prompt
from rag.prompts.sanitize import harmless


def conversation(prompt: Prompt, turns: Sequence[ToolTurn], then: str = "") -> list[Any]:
    """The messages of a prompt, of what was done since, and a last one of the user's.

    A call and its result are joined by the call's id, as providers demand. The model's own
    messages are given back as they came: some have signed reasoning in them.
    """
    from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, messages_from_dict

    found: list[Any] = list(messages(prompt))
    for turn in turns:
        if turn.action.raw is not None:
            found += messages_from_dict([turn.action.raw])
        else:
            calls: list[Any] = [
                {"id": call.id, "name": call.name, "args": call.arguments}
                for call in turn.action.calls
            ]
            found.append(AIMessage(harmless(turn.action.text), tool_calls=calls))
        found += [
            ToolMessage(content_of(one), tool_call_id=one.call.id, name=one.call.name)
            for one in turn.results
        ]
    if then:
        found.append(HumanMessage(then))
    return found


def content_of(result: ToolResult) -> str:
    """A result as one text: its words, and its new sources between their delimiters."""
    shown = [delimited(text, number) for number, text in result.new.items()]
    return "\n\n".join(filter(None, (harmless(result.text), harmless(result.notes), *shown)))


def functions(tools: Sequence[ToolDescription]) -> list[dict[str, Any]]:
    """Tools in OpenAI's form, which LangChain's classes convert to their provider's."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            },
        }
        for tool in tools
    ]


def calls_of(message: Any, number: int) -> tuple[tuple[ToolCall, ...], dict[str, Any] | None]:
    """The calls in a message, also those with arguments that are no JSON object, and its own form.

    Args:
        message: All chunks of a message, added up.
        number: Calls before it, for ids where a provider gives none.

    Returns:
        The form is None where an id had to be made: the message is put together anew then.
    """
    from langchain_core.messages import message_chunk_to_message, messages_to_dict

    calls = []
    named = True
    for at, given in enumerate([*message.tool_calls, *message.invalid_tool_calls], number + 1):
        arguments = given["args"]
        problem = "" if isinstance(arguments, dict) else f"{arguments!r} is no JSON object"
        known = arguments if isinstance(arguments, dict) else {}
        named = named and bool(given["id"])
        calls.append(ToolCall(given["id"] or f"call_{at}", given["name"] or "", known, problem))
    raw = messages_to_dict([message_chunk_to_message(message)])[0] if named else None
    return tuple(calls), raw


def shown(messages_sent: Sequence[Any]) -> tuple[dict[str, str], ...]:
    """Messages as mappings of `role` and `content`, for the record of a run."""
    found = []
    for one in messages_sent:
        if isinstance(one, tuple):
            found.append({"role": one[0], "content": one[1]})
            continue
        calls = [
            {"name": c["name"], "arguments": c["args"]} for c in getattr(one, "tool_calls", ())
        ]
        text = "\n".join(filter(None, (str(one.text), json.dumps(calls) if calls else "")))
        role = {"human": "user", "ai": "assistant"}.get(one.type, one.type)
        found.append({"role": role, "content": text})
    return tuple(found)
