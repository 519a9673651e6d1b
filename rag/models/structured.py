"""Answers as objects: constrained while they are written, or read tolerantly."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from rag.models.base import LLM, Generation, Prompt, Sampling
from rag.prompts.templates import prompts

if TYPE_CHECKING:
    import torch

M = TypeVar("M", bound=BaseModel)

ATTEMPTS = 2
"""The answer, and one more that is told what was wrong."""


@dataclass(frozen=True, slots=True)
class Filled(Generic[M]):
    """What a model made of a form."""

    value: M | None
    """None: no such object."""
    calls: int
    """Of the model."""
    tokens: int
    """Read and written in all calls."""


def described(prompt: Prompt, schema: type[BaseModel]) -> Prompt:
    """The prompt, with what the object looks like behind its question."""
    shape = json.dumps(_shape(schema.model_json_schema()), ensure_ascii=False)
    text = prompts()["structured"].text
    return replace(prompt, question=f"{prompt.question}\n\n{text} {shape}")


async def ask(llm: LLM, prompt: Prompt, schema: type[M], sampling: Sampling) -> Filled[M]:
    """See `LLM.structured`, for a model whose tokens cannot be constrained."""
    asked = described(prompt, schema)
    tokens = 0
    for call in range(1, ATTEMPTS + 1):
        done = await llm.generate(asked, sampling)
        tokens += done.prompt_tokens + done.completion_tokens
        found, wrong = read(done, schema)
        if found is not None:
            return Filled(found, call, tokens)
        asked = replace(
            asked,
            history=(*asked.history, ("user", asked.question), ("assistant", done.text or "{}")),
            question=prompts()["structured_again"].text.format(wrong=wrong),
        )
    return Filled(None, ATTEMPTS, tokens)


def filled(done: Generation, schema: type[M]) -> Filled[M]:
    """What one answer holds."""
    return Filled(read(done, schema)[0], 1, done.prompt_tokens + done.completion_tokens)


def read(done: Generation, schema: type[M]) -> tuple[M | None, str]:
    """The first object of the schema in an answer, and what was wrong where there is none.

    Code fences and words around it do not matter; small mistakes of syntax are mended, unless
    the answer was cut off: what its end would have said is not guessed.
    """
    text = done.text
    start = text.find("{")
    if start < 0:
        return None, "there is no JSON object in it"
    try:
        value = _value(text[start:], whole=done.finish == "stop")
    except (ValueError, RecursionError):  # thousands of braces nest too deep
        return None, "it is no JSON" if done.finish == "stop" else "it was cut off; write less"
    if isinstance(value, list) and value:
        value = value[0]
    try:
        return schema.model_validate(value), ""
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return None, f"{place}: {first['msg']}" if place else str(first["msg"])


def _value(text: str, *, whole: bool) -> Any:
    """The JSON at the beginning of the text; raises ValueError where there is none."""
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except ValueError:
        if not whole:
            raise
        import json_repair

        return json_repair.loads(text)


def _shape(schema: dict[str, Any]) -> Any:
    """An example of what the schema asks for, with words in place of values."""
    definitions = schema.get("$defs", {})

    def example(one: dict[str, Any]) -> Any:
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


def _closed(schema: Any) -> Any:
    """The schema with no other properties than those that it names, at every depth."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _closed(value) for key, value in schema.items()}
    if inner.get("type") == "object" and "properties" in inner:
        inner.setdefault("additionalProperties", False)
    return inner


class Grammar:
    """Allows only tokens that can still become an object of a JSON schema (llguidance).

    Args:
        tokenizer: llguidance's view of the model's tokenizer (`tokens_of`).
        schema: A JSON schema.
    """

    def __init__(self, tokenizer: Any, schema: dict[str, Any]) -> None:
        from llguidance import LLMatcher

        # Without blanks to choose, a small model cannot lose itself in them.
        grammar = LLMatcher.grammar_from_json_schema(
            _closed(schema), overrides={"whitespace_flexible": False}
        )
        self._matcher = LLMatcher(tokenizer, grammar)

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits [vocabulary], minus infinity where a token is not allowed."""
        import numpy as np
        import torch

        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = torch.from_numpy(np.unpackbits(bits, bitorder="little").astype(bool))
        full = torch.zeros(len(logits), dtype=torch.bool)
        count = min(len(full), len(allowed))
        full[:count] = allowed[:count]
        return logits.masked_fill(~full.to(logits.device), -torch.inf)

    def take(self, token: int) -> None:
        """Go on behind this token."""
        self._matcher.consume_token(token)


@lru_cache(maxsize=4)
def tokens_of(tokenizer: Any, vocabulary: int, end: int) -> Any:
    """A tokenizer as llguidance sees it, which takes a second to make; None: not to be had."""
    try:
        from llguidance.hf import from_tokenizer
    except ImportError:
        return None
    try:
        return from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=end)
    except ValueError:  # a tokenizer that is not one of Rust's
        return None
