"""What a model does next: by its provider's interface for tool calls, or by constrained JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, Field

from rag.models.llm import LLM, Generation, Sampling
from rag.models.structured_output import ATTEMPTS, parse
from rag.models.tool_calls import Action, ToolCall, ToolDescription, ToolResult, ToolTurn
from rag.prompts.layout import messages
from rag.prompts.prompt import Prompt
from rag.prompts.sanitize import harmless

ANSWER = "answer"
"""What a model names in the place of a tool when it wants to answer."""
TEXT = 300
"""Characters of a text in a call that is constrained: a small model finds no end by itself."""


class Decision(BaseModel):
    """What a model writes that has no interface for tool calls."""

    thought: str = ""
    tool: str = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)


async def next_action(
    llm: LLM,
    prompt: Prompt,
    turns: Sequence[ToolTurn],
    tools: Sequence[ToolDescription],
    sampling: Sampling,
    *,
    answer: bool = False,
) -> AsyncGenerator[str | Action]:
    """The pieces of the model's text as they come, and last the `Action`.

    By the provider's interface (`LLM.act`) where there is one. Otherwise the model writes a JSON
    object that names a tool and its arguments, constrained token by token where that is offered
    (guided generation, Willard and Louf 2023, arXiv 2307.09702, section 3). An action without
    calls and text is one of a model that wants to answer, or gave nothing that can be used: a
    call with `answer` follows.

    Args:
        llm: The model.
        prompt: Instruction, history and question; without sources.
        turns: What was done so far, in order.
        tools: What it may call.
        sampling: How tokens are sampled.
        answer: Whether it is to answer now, from what it has.

    Raises:
        ModelError: As `LLM.stream`.
    """
    native = llm.act(prompt, turns, tools, sampling, answer=answer)
    done = False
    async with aclosing(native) as pieces:
        async for piece in pieces:
            done = done or isinstance(piece, Action)
            yield piece
    if done:
        return
    if not answer:
        yield await _decided(llm, prompt, turns, tools, sampling)
        return
    async for piece in _answered(llm, prompt, turns, sampling):
        yield piece


async def _answered(
    llm: LLM, prompt: Prompt, turns: Sequence[ToolTurn], sampling: Sampling
) -> AsyncIterator[str | Action]:
    """The answer in words, from the sources that the tools gave."""
    texts, question = llm.prompt_set, prompt.question
    notes = [result.notes for turn in turns for result in turn.results if result.notes]
    if notes:
        found = harmless("\n".join(notes))
        question = texts["agent_notes"].format(question=question, notes=found)
    system = texts["generate"].text
    request = replace(prompt, system=system, question=question, chunks=_sources(turns))
    async for piece in llm.stream(request, sampling):
        if isinstance(piece, Generation):
            yield _action(request, [piece], text=piece.text, reasoning=piece.reasoning)
        else:
            yield piece


async def _decided(
    llm: LLM,
    prompt: Prompt,
    turns: Sequence[ToolTurn],
    tools: Sequence[ToolDescription],
    sampling: Sampling,
) -> Action:
    """The tool that the model names in a JSON object."""
    question = decision_question(llm, prompt, turns, tools)
    request = replace(prompt, question=question, chunks=_sources(turns))
    outputs: list[Generation] = []
    constrained = await llm.generate_json(request, decision_schema(tools), sampling)
    value: Decision | None = None
    if constrained is not None:
        outputs = [constrained]
        value, _ = parse(constrained, Decision)
    while constrained is None and value is None and len(outputs) < ATTEMPTS:
        outputs.append(await llm.generate(request, sampling))
        value, problem = parse(outputs[-1], Decision)
        again = llm.prompt_set["structured_again"].format(problem=problem)
        request = request if value else replace(request, question=f"{question}\n\n{again}")
    if value is None:
        return _action(request, outputs)
    number = 1 + sum(len(turn.results) for turn in turns)
    call = ToolCall(f"call_{number}", value.tool, value.arguments)
    calls = () if value.tool == ANSWER else (call,)
    return _action(request, outputs, calls=calls, reasoning=value.thought)


def _action(request: Prompt, outputs: Sequence[Generation], **fields: Any) -> Action:
    """An action, with what the model used for it."""
    return Action(
        prompt_tokens=sum(one.prompt_tokens for one in outputs),
        completion_tokens=sum(one.completion_tokens for one in outputs),
        llm_calls=len(outputs),
        finish=outputs[-1].finish,
        prompt=tuple({"role": role, "content": text} for role, text in messages(request)),
        **fields,
    )


def decision_question(
    llm: LLM, prompt: Prompt, turns: Sequence[ToolTurn], tools: Sequence[ToolDescription]
) -> str:
    """The question, what was done so far, the tools, and the form of a decision."""
    texts, question = llm.prompt_set, prompt.question
    if turns:
        log = "\n".join(_line(llm, turn, result) for turn in turns for result in turn.results)
        question = texts["agent_log"].format(question=question, log=harmless(log))
    listed = "\n".join(
        texts["agent_tool"].format(
            name=tool.name, description=tool.description, arguments=_example(tool.parameters)
        )
        for tool in tools
    )
    choice = texts["agent_choose"].format(tools=listed, answer=ANSWER)
    return f"{question}\n\n{choice}"


def _line(llm: LLM, turn: ToolTurn, result: ToolResult) -> str:
    """What a call was, and what came of it."""
    arguments = json.dumps(result.call.arguments, ensure_ascii=False)
    said = " ".join(filter(None, (result.text, result.notes)))
    return llm.prompt_set["agent_log_line"].format(
        thought=turn.action.reasoning, name=result.call.name, arguments=arguments, result=said
    )


def _sources(turns: Sequence[ToolTurn]) -> tuple[str, ...]:
    """The texts of all sources, in the order of their numbers."""
    found = {n: text for turn in turns for one in turn.results for n, text in one.new.items()}
    return tuple(found[number] for number in sorted(found))


def _example(parameters: Mapping[str, Any]) -> str:
    """Arguments with their descriptions, or types, in place of values."""
    properties: Mapping[str, Any] = parameters.get("properties", {})
    return json.dumps(
        {name: one.get("description") or one.get("type", "") for name, one in properties.items()},
        ensure_ascii=False,
    )


def decision_schema(tools: Sequence[ToolDescription]) -> dict[str, Any]:
    """The JSON schema of a `Decision` for these tools: a call of one of them, or to answer."""
    definitions: dict[str, Any] = {}
    options = []
    for tool in tools:
        parameters = dict(tool.parameters)
        definitions |= parameters.pop("$defs", {})
        options.append(_option(tool.name, _bounded(parameters)))
    options.append(_option(ANSWER, {"type": "object", "properties": {}}))
    return {"anyOf": options, **({"$defs": definitions} if definitions else {})}


def _option(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "thought": {"type": "string", "maxLength": TEXT},
            "tool": {"const": name},
            "arguments": dict(arguments),
        },
        "required": ["thought", "tool", "arguments"],
    }


def _bounded(schema: Any) -> Any:
    """The schema with a limit on every text that has none."""
    if not isinstance(schema, Mapping):
        return [_bounded(one) for one in schema] if isinstance(schema, list) else schema
    inner = {key: _bounded(value) for key, value in schema.items()}
    free = schema.get("type") == "string" and not schema.keys() & {"maxLength", "enum", "const"}
    return {**inner, "maxLength": TEXT} if free else inner
