"""What a language model is and can do: its profile, from its name, its class and its size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator

from rag.prompts.templates import PromptTemplate, prompt_set

Size = Literal["small", "strong"]
SMALL = 2e9
"""Parameters below which a model is small: it misreads long contexts and judges at random."""
REASONING = 8192
"""Tokens for reasoning, beside those of the text, where the pipeline does not say."""
STRONG_FACTOR, STRONG_LEAST = 8, 512
"""A strong model's output limit: so many times a small one's, and at least so many tokens."""
CONCURRENCY = 8


class Profile(BaseModel):
    """What operators and clients of a model depend on; a pipeline may set any of it.

    As `resources: {llm: {..., profile: {size: strong, window: 32768}}}`. What is not set is
    known from the model (`hosted`, `local`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Size = Field(
        default="small",
        description="chooses prompts, limits of outputs, and how much is read; small: below two "
        "billion parameters",
    )
    window: PositiveInt | None = Field(
        default=None, description="tokens for prompt and answer; default: by the model"
    )
    reasoning: NonNegativeInt = Field(
        default=0,
        description="tokens for reasoning, beside those of the text; 0: it does not reason; "
        "true: 8192",
    )
    logprobs: bool = Field(
        default=False, description="whether its answers come with log-probabilities"
    )
    structured: bool = Field(
        default=False, description="whether its answers can be constrained by a JSON schema"
    )
    tools: bool = Field(
        default=False, description="whether it takes tools by its provider's interface"
    )
    temperature: bool = Field(
        default=True, description="whether it accepts temperature, top_p, seed and stop"
    )
    concurrency: PositiveInt = Field(
        default=CONCURRENCY, description="calls at once; independent ones run together"
    )
    prompts: str | None = Field(
        default=None,
        description="prompt set: small, strong, or a YAML file of names and texts, which replace "
        "those of the model's size; default: by size",
    )

    @field_validator("reasoning", mode="before")
    @classmethod
    def _tokens(cls, value: Any) -> Any:
        return (REASONING if value else 0) if isinstance(value, bool) else value

    def but(self, given: Profile | None, base: Path | None = None) -> Profile:
        """This profile with what a pipeline sets instead.

        Args:
            given: What it sets.
            base: The folder that a prompt file's relative path starts from.

        Raises:
            ConfigError: The prompt file cannot be read, or names no prompt.
        """
        changed = {} if given is None else given.model_dump(exclude_unset=True)
        if changed.get("prompts") not in (None, "small", "strong"):
            changed["prompts"] = str((base or Path()) / Path(changed["prompts"]).expanduser())
        profile = self.model_copy(update=changed)
        profile.prompt_set  # noqa: B018 - a wrong file is an error here, not at the first call
        return profile

    @property
    def prompt_set(self) -> Mapping[str, PromptTemplate]:
        """Every text that the model is given, by name."""
        return prompt_set(self.prompts or self.size, self.size)

    def allowance(self, tokens: int) -> int:
        """The output limit where a step sets none, in tokens of text.

        Args:
            tokens: What suffices a small model, which is to be brief.
        """
        return tokens if self.size == "small" else max(STRONG_FACTOR * tokens, STRONG_LEAST)


_FAMILIES: tuple[tuple[str, dict[str, Any]], ...] = (
    (r"gpt-5|\bo\d\b", {"window": 200_000, "structured": True, "reasoning": REASONING,
                        "temperature": False}),
    (r"gpt-4|gpt-3", {"window": 128_000, "structured": True}),
    (r"claude", {"window": 200_000}),
    (r"gemini", {"window": 1_000_000, "structured": True}),
    (r"mistral|mixtral|codestral", {"window": 32_768}),
    (r"qwq|deepseek-r\d|reasoner|thinking|qwen-?3|gpt-oss|magistral", {"reasoning": REASONING}),
)  # fmt: skip
_BILLIONS = re.compile(r"(?<![\w.])(?:\d+x)?(\d+(?:\.\d+)?)\s?b\b", re.IGNORECASE)
_MILLIONS = re.compile(r"(?<![\w.])(\d+)\s?m\b", re.IGNORECASE)


def hosted(name: str, model: Any) -> Profile:
    """The profile of a LangChain chat model.

    Args:
        name: The model's name at its provider.
        model: The chat model; its class has a field for what it can ask for, and its `profile`,
            where LangChain knows the model, says most of it.
    """
    known: dict[str, Any] = {"size": named_size(name) or "strong"}
    for pattern, facts in _FAMILIES:
        if re.search(pattern, name, re.IGNORECASE):
            known |= facts
    given: Mapping[str, Any] = getattr(model, "profile", None) or {}
    if "max_input_tokens" in given:
        known["window"] = int(given["max_input_tokens"])
    for ours, theirs in (("structured", "structured_output"), ("temperature", "temperature")):
        if theirs in given:
            known[ours] = bool(given[theirs])
    known["tools"] = bool(given.get("tool_calling", _binds_tools(model)))
    if "reasoning_output" in given:
        known["reasoning"] = REASONING if given["reasoning_output"] else 0
    thinking = getattr(model, "thinking", None)
    if isinstance(thinking, Mapping) and thinking.get("type") != "disabled":
        known |= {"temperature": False, "reasoning": int(thinking.get("budget_tokens", REASONING))}
    known["logprobs"] = "logprobs" in getattr(type(model), "model_fields", {}) and (
        not known.get("reasoning") or "temperature" not in known
    )
    return Profile(**known)


def _binds_tools(model: Any) -> bool:
    """Whether the class of a chat model says how its tools are bound."""
    from langchain_core.language_models import BaseChatModel

    own = getattr(type(model), "bind_tools", BaseChatModel.bind_tools)
    return own is not BaseChatModel.bind_tools


def local(name: str, config: Any) -> Profile:
    """The profile of a model that runs in this process.

    It does not reason unless the pipeline says so, which is then asked of its chat template.

    Args:
        name: The model's name.
        config: Of transformers; its sizes give the number of parameters where the name does not.
    """
    size = named_size(name) or ("small" if parameters(config) < SMALL else "strong")
    return Profile(size=size, logprobs=True, structured=True)


def window_of(given: int | None, profile: Profile, config: Any) -> int:
    """The window of a local model, in tokens.

    Args:
        given: What a pipeline says.
        profile: The model's.
        config: Of transformers.
    """
    limit = int(getattr(config, "max_position_embeddings", 4096))
    return min(given or profile.window or limit, limit)


def named_size(name: str) -> Size | None:
    """The size class by the parameters that a name gives, as `8b` or `360M`; None: it has none."""
    if billions := _BILLIONS.search(name.replace("_", "-")):
        return "small" if float(billions[1]) * 1e9 < SMALL else "strong"
    return "small" if _MILLIONS.search(name) else None


def parameters(config: Any) -> float:
    """About how many parameters a decoder has, by the sizes in its configuration."""
    hidden = float(getattr(config, "hidden_size", 0) or 0)
    inner = float(getattr(config, "intermediate_size", 0) or 4 * hidden)
    layers = float(getattr(config, "num_hidden_layers", 0) or 0)
    vocabulary = float(getattr(config, "vocab_size", 0) or 0)
    return layers * (3 * hidden * inner + 4 * hidden * hidden) + vocabulary * hidden
