"""Tools as a model sees them, its calls of them, and what came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class ToolDescription:
    """What a model is told of a tool.

    Args:
        name: By which it is called.
        description: What it is good for.
        parameters: The JSON schema of its arguments: an object.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that a model wants.

    Args:
        id: By which the provider finds the call's result; unique in a conversation.
        name: Of the tool, as the model wrote it.
        arguments: By parameter.
        problem: What is wrong with the arguments where they are no JSON object, else "".
    """

    id: str
    name: str
    arguments: dict[str, Any]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the model is told of one of its calls.

    Args:
        call: The call.
        text: What came of it, in a few words: which sources, or an error.
        new: Of the sources that it gave, those not shown before: number to text.
        notes: What was condensed from its sources, which are not shown then.
    """

    call: ToolCall
    text: str
    new: dict[int, str] = field(default_factory=dict)
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """What a model does next: it calls tools, or answers.

    Args:
        text: Its answer; beside calls, what it wrote before them.
        calls: The tools that it calls; none: it answers, or gave nothing at all.
        prompt_tokens: Of all prompts.
        completion_tokens: Of all outputs.
        llm_calls: How often the model was called for it.
        finish: Why the output ended.
        reasoning: What the model wrote, or its provider shows, of its reasoning.
        raw: The message in the provider's form, which the next prompt must have.
        prompt: The last prompt, as mappings of `role` and `content`.
    """

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    llm_calls: int = 1
    finish: Literal["stop", "length"] = "stop"
    reasoning: str = ""
    raw: dict[str, Any] | None = None
    prompt: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ToolTurn:
    """A turn of an agent: what the model did, and what came of its calls."""

    action: Action
    results: tuple[ToolResult, ...]
