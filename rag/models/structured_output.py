"""Answers as objects of a pydantic model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from rag.models.llm import LLM, Generation, Sampling
from rag.prompts.prompt import Prompt, Turn
from rag.prompts.templates import PromptTemplate

M = TypeVar("M", bound=BaseModel)

ATTEMPTS = 2
"""The answer, and a second one with the error of the first in its prompt."""


@dataclass(frozen=True, slots=True)
class StructuredResult(Generic[M]):
    """An object that a model wrote."""

    value: M | None
    """None: the model wrote no such object."""
    calls: int
    """LLM calls."""
    tokens: int
    """Of all prompts and answers."""


async def structured(
    llm: LLM, prompt: Prompt, schema: type[M], sampling: Sampling | None = None
) -> StructuredResult[M]:
    """The answer to a prompt as an object of a pydantic model.

    Where the model's tokens can be constrained by the schema (`LLM.generate_json`), one call is
    made. Otherwise the first object in the answer is parsed, small mistakes are repaired, and
    where there is none the model is asked once more, with the error.

    Returns:
        Its `value` is None where there was no such object in the end: the answer was cut off by
        `max_tokens`, empty, or something else.

    Raises:
        ModelError: As `LLM.stream`.
    """
    sampling = sampling or Sampling()
    shape = schema.model_json_schema()
    request = described(prompt, shape, llm.prompt_set)
    done = await llm.generate_json(request, shape, sampling)
    if done is not None:
        tokens = done.prompt_tokens + done.completion_tokens
        return StructuredResult(parse(done, schema)[0], 1, tokens)
    tokens = 0
    for call in range(1, ATTEMPTS + 1):
        done = await llm.generate(request, sampling)
        tokens += done.prompt_tokens + done.completion_tokens
        value, problem = parse(done, schema)
        if value is not None:
            return StructuredResult(value, call, tokens)
        turns: tuple[Turn, ...] = (("user", request.question), ("assistant", done.text or "{}"))
        again = llm.prompt_set["structured_again"].format(problem=problem)
        request = replace(request, history=(*request.history, *turns), question=again)
    return StructuredResult(None, ATTEMPTS, tokens)


def described(
    prompt: Prompt, schema: Mapping[str, Any], texts: Mapping[str, PromptTemplate]
) -> Prompt:
    """The prompt, with the form of an object of the JSON schema after its question.

    Args:
        prompt: Asks for the object.
        schema: Of the object.
        texts: The model's `prompt_set`.
    """
    shape = json.dumps(_shape(schema), ensure_ascii=False)
    text = texts["structured"].text
    return replace(prompt, question=f"{prompt.question}\n\n{text} {shape}")


def parse(done: Generation, schema: type[M]) -> tuple[M | None, str]:
    """The first object of the schema in an answer, and the problem where there is none.

    Code fences and text around it are ignored. Small mistakes of syntax are repaired, unless
    the answer was cut off: its missing end is not guessed.
    """
    start = done.text.find("{")
    if start < 0:
        return None, "there is no JSON object in it"
    try:
        value = _value(done.text[start:], whole=done.finish == "stop")
    except (ValueError, RecursionError):  # thousands of braces nest too deep
        return None, "it is no JSON" if done.finish == "stop" else "it was cut off; write less"
    if isinstance(value, list) and value:
        value = value[0]
    try:
        return schema.model_validate(value), ""
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        return None, f"{field}: {first['msg']}" if field else str(first["msg"])


def _value(text: str, *, whole: bool) -> Any:
    """The JSON at the beginning of the text; raises ValueError where there is none."""
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except ValueError:
        if not whole:
            raise
        import json_repair

        return json_repair.loads(text)


def _shape(schema: Mapping[str, Any]) -> Any:
    """An example of an object of the schema, with descriptions in place of values."""
    definitions = schema.get("$defs", {})

    def example(one: Mapping[str, Any]) -> Any:
        if "$ref" in one:
            return example(definitions[one["$ref"].rsplit("/", 1)[-1]])
        for several in ("anyOf", "allOf", "oneOf"):
            if several in one:
                return example(one[several][0])
        if "enum" in one:
            return " or ".join(map(str, one["enum"]))
        match one.get("type"):
            case "object":
                return {name: example(inner) for name, inner in one.get("properties", {}).items()}
            case "array":
                return [example(one.get("items", {}))]
        return one.get("description") or one.get("type", "anything")

    return example(schema)
