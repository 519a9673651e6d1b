"""LangChain's chat models behind our protocol."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rag.errors import ModelError
from rag.models.langchain_tools import calls_of, conversation, functions, shown
from rag.models.llm import LLM, Generation, Sampling
from rag.models.profiles import Profile, hosted
from rag.models.rate_limit import RateLimit
from rag.models.reasoning import without_reasoning
from rag.models.tool_calls import Action, ToolDescription, ToolTurn
from rag.models.unreachable import unreachable
from rag.prompts.layout import messages
from rag.prompts.prompt import Prompt
from rag.text.tokens import count_tokens, first_tokens

if TYPE_CHECKING:
    from rag.kvcache.settings import ReuseSettings

WINDOW = 8192
"""Tokens for prompt and answer, where nobody knows better; those for reasoning come on top."""
LIMITS = (
    "max_tokens",
    "max_output_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    "num_predict",
)
"""Names of the field of a chat model that limits the answer's tokens."""
CUT_OFF = ("length", "max_tokens", "max_output_tokens", "model_length")
"""What providers call the end of an answer by its limit, in lower case."""
REFUSED = (400, 404, 422)
"""HTTP statuses of a request that the server does not understand."""


class LangChainLLM(LLM):
    """A LangChain chat model.

    A request has the settings that a step asks for, the limit on the answer's tokens, and nothing
    else: what the chat model was configured with stays, and its own limit counts if it has one.

    Args:
        model: Any `BaseChatModel`.
        given: What a pipeline sets of its profile.
        base: The folder that a prompt file's relative path starts from.

    Raises:
        ConfigError: The profile names a prompt file that cannot be read.
    """

    def __init__(self, model: Any, given: Profile | None = None, base: Path | None = None) -> None:
        self._model = model
        self.id = str(
            getattr(model, "model_name", None) or getattr(model, "model", type(model).__name__)
        )
        self.profile = hosted(self.id, model).but(given, base)
        self.window = self.profile.window or WINDOW + self.profile.reasoning
        self._known = set(getattr(type(model), "model_fields", {}))
        self._limit = next((name for name in LIMITS if name in self._known), None)
        own = getattr(model, "model_fields_set", ())
        self._limited = self._limit in own and _configured(model, str(self._limit))
        self._calls = RateLimit(self.profile.concurrency)
        self._without: set[str] = set()
        """What the server has refused to do."""

    def count(self, text: str) -> int:
        """An estimate: an exact count would cost a request."""
        return count_tokens(text)

    def clip(self, text: str, tokens: int) -> str:
        """See `LLM.clip`; by the estimate of `count`."""
        return first_tokens(text, tokens)

    def stream(
        self, prompt: Prompt, sampling: Sampling, reuse: ReuseSettings | None = None
    ) -> AsyncGenerator[str | Generation]:
        """See `LLM.stream`; settings that the model has no field for are left out.

        A model without a limit on the answer is stopped at `max_tokens`, as `count` estimates.

        Raises:
            ModelError: The model cannot be reached or refuses the request, it used up its tokens
                for reasoning, or `reuse` asks to reuse states, which a remote model does not
                give access to.
        """
        return without_reasoning(self._stream(prompt, sampling, reuse))

    async def generate_json(
        self, prompt: Prompt, schema: Mapping[str, Any], sampling: Sampling
    ) -> Generation | None:
        """See `LLM.generate_json`; None where the provider offers no structured output."""
        if not self.profile.structured or "structured" in self._without:
            return None
        try:
            settings = {k: v for k, v in self._options(sampling).items() if k in self._known}
            bound = self._model.model_copy(update=settings).with_structured_output(
                {"title": "Answer", **schema}, method="json_schema", include_raw=True
            )
            found = await self._calls.once(lambda: bound.ainvoke(messages(prompt)))
        except Exception as error:  # each provider's client has its own
            if _status(error) in REFUSED or isinstance(error, TypeError | ValueError):
                self._without.add("structured")  # asked in words from now on
                return None
            raise self._failed(error) from error
        answer = _Answer()
        answer.take(found["raw"])
        parsed = found["parsed"]
        text = answer.text if parsed is None else json.dumps(parsed, ensure_ascii=False)
        return self._generation(answer, text, prompt)

    async def act(
        self,
        prompt: Prompt,
        turns: Sequence[ToolTurn],
        tools: Sequence[ToolDescription],
        sampling: Sampling,
        *,
        answer: bool = False,
    ) -> AsyncGenerator[str | Action]:
        """See `LLM.act`; nothing where the class binds no tools, or the server refuses them."""
        if not self.profile.tools or "tools" in self._without:
            return
        then = self.prompt_set["agent_now"].text if answer else ""
        sent = conversation(prompt, turns, then)
        whole: list[Any] = []
        number = sum(len(turn.results) for turn in turns)
        try:
            bound = self._model.bind_tools(functions(tools)) if tools else self._model
            async with aclosing(
                without_reasoning(self._spoken(bound, sent, sampling, whole))
            ) as pieces:
                async for piece in pieces:
                    if isinstance(piece, str):
                        yield piece
                        continue
                    calls, raw = calls_of(whole[0], number)
                    yield Action(
                        piece.text,
                        calls,
                        piece.prompt_tokens or sum(self.count(m["content"]) for m in shown(sent)),
                        piece.completion_tokens,
                        finish=piece.finish,
                        reasoning=piece.reasoning,
                        raw=raw,
                        prompt=shown(sent),
                    )
        except Exception as error:  # each provider's client has its own
            refused = _status(error) in REFUSED and re.search(r"tool|function", str(error))
            if not turns and not whole and (refused or isinstance(error, NotImplementedError)):
                self._without.add("tools")  # asked in words from now on
                return
            raise error if isinstance(error, ModelError) else self._failed(error) from error

    async def _spoken(
        self, model: Any, sent: list[Any], sampling: Sampling, whole: list[Any]
    ) -> AsyncIterator[str | Generation]:
        """The text of a message that may have calls; all its chunks, added up, go to `whole`."""
        found = _Answer()
        options = self._options(sampling)
        async with aclosing(self._calls.stream(partial(model.astream, sent, **options))) as chunks:
            async for chunk in chunks:
                whole[:] = [whole[0] + chunk if whole else chunk]
                if piece := found.take(chunk):
                    yield piece
        self._check_ended(found, bool(whole and whole[0].tool_calls))
        yield Generation(
            found.text,
            found.input_tokens,
            found.output_tokens or self.count(found.text),
            found.finish,
            reasoning="".join(found.reasoning),
        )

    def _check_ended(self, answer: _Answer, calls: bool = False) -> None:
        if answer.finish == "length" and not answer.text.strip() and not calls:
            raise ModelError(
                f"{self.id!r} used up its {answer.output_tokens} tokens before any text",
                where="resources.llm",
                fix="if it reasons, set more tokens for that, as `profile: {reasoning: 16384}`",
            )

    async def _stream(
        self, prompt: Prompt, sampling: Sampling, reuse: ReuseSettings | None
    ) -> AsyncIterator[str | Generation]:
        if reuse is not None and reuse.mode != "full":
            raise ModelError(
                f"{self.id!r} is a remote model: the states of chunks cannot be reused",
                where="reuse",
                fix="remove `reuse` from the step, or use a local model",
            )
        # Models that refuse `stop` are cut here, as a whole: their text is not streamed then.
        cut_here = bool(sampling.stop) and not self.profile.temperature
        answer = _Answer()
        try:
            async with aclosing(self._chunks(prompt, sampling)) as chunks:
                async for chunk in chunks:
                    piece = answer.take(chunk)
                    if self._limit is None:
                        room = sampling.max_tokens - self.count(answer.text[: -len(piece) or None])
                        if self.count(piece) > room:
                            piece = answer.shorten(piece, self.clip(piece, max(room, 0)))
                    if piece and not cut_here:
                        yield piece
                    if answer.finish == "length" and self._limit is None:
                        break
        except ModelError:
            raise
        except Exception as error:  # each provider's client has its own
            raise self._failed(error) from error
        self._check_ended(answer)
        text = answer.text
        if cut_here:
            text = min((text.split(stop, 1)[0] for stop in sampling.stop), key=len)
            yield text
        yield self._generation(answer, text, prompt)

    async def _chunks(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Any]:
        """The chunks of an answer; without log-probabilities where the server refuses them."""
        while True:
            options = self._options(sampling)
            call = self._calls.stream(partial(self._model.astream, messages(prompt), **options))
            begun = False
            try:
                async with aclosing(call) as chunks:
                    async for chunk in chunks:
                        begun = True
                        yield chunk
                return
            except Exception as error:  # each provider's client has its own
                refused = "logprobs" in options and "logprobs" in str(error)
                if begun or not refused or _status(error) not in REFUSED:
                    raise
                self._without.add("logprobs")
                self.profile = self.profile.model_copy(update={"logprobs": False})

    def _options(self, sampling: Sampling) -> dict[str, Any]:
        """The arguments of a call."""
        options: dict[str, Any] = {}
        if self.profile.temperature:
            asked = ("temperature", "top_p", "seed")
            options = {name: getattr(sampling, name) for name in asked if name in self._known}
            options = {name: value for name, value in options.items() if value is not None}
            if sampling.stop:
                options["stop"] = list(sampling.stop)
        if self._limit is not None and not self._limited:
            options[self._limit] = sampling.max_tokens + self.profile.reasoning
        if sampling.logprobs and self.profile.logprobs:
            options["logprobs"] = True
            if sampling.alternatives and "top_logprobs" in self._known:
                options["top_logprobs"] = sampling.alternatives
        return options

    def _generation(self, answer: _Answer, text: str, prompt: Prompt) -> Generation:
        read = sum(self.count(one) for _, one in messages(prompt))
        whole = text == answer.text
        return Generation(
            text,
            answer.input_tokens or read,
            answer.output_tokens or self.count(text),
            answer.finish,
            logprobs=tuple(answer.logprobs) if answer.logprobs and whole else None,
            reasoning="".join(answer.reasoning),
            alternatives=tuple(answer.alternatives) if answer.logprobs and whole else None,
        )

    def _failed(self, error: Exception) -> ModelError:
        return unreachable(f"the model {self.id!r} gave no answer", "llm", error)


@dataclass(slots=True)
class _Answer:
    """An answer put together out of LangChain's chunks."""

    text: str = ""
    reasoning: list[str] = field(default_factory=list)
    finish: Literal["stop", "length"] = "stop"
    input_tokens: int = 0
    output_tokens: int = 0
    logprobs: list[tuple[str, float]] = field(default_factory=list)
    alternatives: list[Mapping[str, float]] = field(default_factory=list)

    def take(self, chunk: Any) -> str:
        """The text of the next chunk."""
        piece = str(chunk.text)
        self.text += piece
        # Blocks for thinking, and what servers call `reasoning_content`.
        if not isinstance(chunk.content, str) or chunk.additional_kwargs.get("reasoning_content"):
            blocks = [block for block in chunk.content_blocks if block["type"] == "reasoning"]
            self.reasoning.extend(block.get("reasoning", "") for block in blocks)
        # Anthropic's stream counts the prompt first and the answer last; others count once.
        usage = chunk.usage_metadata or {}
        self.input_tokens = max(self.input_tokens, int(usage.get("input_tokens", 0)))
        self.output_tokens = max(self.output_tokens, int(usage.get("output_tokens", 0)))
        metadata = chunk.response_metadata
        ended = str(metadata.get("finish_reason") or metadata.get("stop_reason") or "")
        if ended.casefold() in CUT_OFF:
            self.finish = "length"
        for token in (metadata.get("logprobs") or {}).get("content") or ():
            self.logprobs.append((token["token"], float(token["logprob"])))
            most = token.get("top_logprobs") or ()
            self.alternatives.append({one["token"]: float(one["logprob"]) for one in most})
        return piece

    def shorten(self, piece: str, kept: str) -> str:
        """End with a part of the last piece, which is returned."""
        self.text = self.text[: len(self.text) - len(piece)] + kept
        self.finish = "length"
        return kept


def _configured(model: Any, name: str) -> bool:
    """Whether the user has set a field of a chat model, which its own defaults did not."""
    value = getattr(model, name, None)
    default = (getattr(model, "profile", None) or {}).get("max_output_tokens")
    return value is not None and value != default


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    found = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    return found if isinstance(found, int) else None
