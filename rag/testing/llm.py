"""A language model that answers by a script: no weights, no network, the same every time."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel

from rag.errors import ConfigError, InputError, ModelError
from rag.models.llm import LLM, Generation, Sampling, Scored, no_logprobs_error
from rag.models.profiles import Profile
from rag.names import suggestion
from rag.prompts.prompt import Prompt
from rag.prompts.templates import prompts

_TOKEN = re.compile(r"\s*\S{1,4}|\s+")
_OTHER = "other"
_JUDGED = {"question_of": "relevant", "generate": "supported", "question_answered": "useful"}
"""Prompts behind which a text's likelihood is what judges, and the verdict's name."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with more to it than its text.

    Args:
        text: What is streamed, token by token.
        probability: Of each token, 0 to 1, or one for each; None: the model's own.
        error: Raised behind the text: a stream that breaks off, or, without text, a call that
            fails.
        hangs: Wait behind the text until the call is cancelled: for time limits.
        prompt_tokens: Counted; None: those of the prompt's texts.
    """

    text: str = ""
    probability: float | Sequence[float] | None = None
    error: Exception | None = None
    hangs: bool = False
    prompt_tokens: int | None = None


Answer = str | Mapping[str, Any] | BaseModel | Exception | Reply
"""A text; an object, which is written as JSON; an error, which is raised; a `Reply`."""
Answers = Answer | Sequence[Answer] | Callable[[Prompt], Answer]
"""One answer for all calls; one after another, the last again and again; or a function."""


@dataclass(frozen=True, slots=True)
class LLMCall:
    """One call of a scripted model.

    Attributes:
        method: `stream`, `generate_json`, `score` or `ensemble`.
        name: The prompt's name in `prompts.yaml` (`generate`, `rewrite`); `other`: none of them.
        prompt: In parts.
        sampling: None where nothing is sampled.
        candidates: The texts that `score` compares.
        schema: The JSON schema of `generate_json`.
    """

    method: Literal["stream", "generate_json", "score", "ensemble"]
    name: str
    prompt: Prompt
    sampling: Sampling | None = None
    candidates: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None

    @property
    def text(self) -> str:
        """The parts of the prompt as one text."""
        return text_of(self.prompt)


class ScriptedLLM(LLM):
    """A language model that answers by a script and records its calls.

    A token is at most four characters of a word, with the space before it.

    Args:
        answers: One text, several in order, a function of the `Prompt`; or a mapping to these
            from the name of a built-in prompt (`generate`; `other` for your own prompts), or
            from a compiled pattern that is searched in the whole prompt. The first key that
            matches counts.
        default: The answer where no key matches.
        yes: Name of a prompt that asks for Yes or No to the probability of Yes, one or several in
            order. Also for `relevant`, `supported` and `useful` where they are judged by
            likelihood: the share of a text's surprisal that the documents explain. Where none is
            given, 0.9.
        probability: Of each token of the answers, one for all calls or one for each; None and
            no `yes`: the model returns no log-probabilities.
        constrained: Whether `generate_json` is available. The answers must fit the schema.
        window: Tokens that prompt and answer may have together. It is declared, not enforced.
        profile: Default: a small model's. It chooses the prompts that are recognised.

    Raises:
        ConfigError: A key is no prompt's name.
    """

    id = "scripted"

    def __init__(
        self,
        answers: Answers | Mapping[str | re.Pattern[str], Answers] = "something",
        *,
        default: Answer = "something",
        yes: Mapping[str, float | Sequence[float]] | None = None,
        probability: float | Sequence[float] | None = None,
        constrained: bool = False,
        window: int = 4096,
        profile: Profile | None = None,
    ) -> None:
        self.profile = profile or Profile()
        if isinstance(answers, Mapping):
            rules: dict[Any, Any] = dict(answers)
        else:
            rules = {re.compile(""): answers}
        self._rules = [(key, _in_order(given)) for key, given in rules.items()]
        self._default = default
        self._yes = {name: _in_order(given) for name, given in (yes or {}).items()}
        self._names = {key for key in rules if isinstance(key, str)} | self._yes.keys()
        for name in {key for key in rules if isinstance(key, str)} - prompts().keys() - {_OTHER}:
            fix = f"{suggestion(name, prompts())}; a part of the prompt is written as a pattern"
            raise ConfigError(f"there is no prompt {name!r}", where="answers", fix=fix)
        self._probability = None if probability is None else _in_order(probability)
        self.supports_logprobs = probability is not None or bool(yes)
        self._constrained = constrained
        self.window = window
        self.calls: list[LLMCall] = []
        """What was called, in order."""

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts, in order."""
        return [call.prompt for call in self.calls]

    @property
    def names(self) -> list[str]:
        """The names of the prompts, in order."""
        return [call.name for call in self.calls]

    @property
    def samplings(self) -> list[Sampling]:
        """How the answers were sampled, in order."""
        return [call.sampling for call in self.calls if call.sampling is not None]

    def count(self, text: str) -> int:
        """See `LLM.count`."""
        return sum(1 for _ in _TOKEN.finditer(text))

    def clip(self, text: str, tokens: int) -> str:
        """See `LLM.clip`."""
        return "".join(_TOKEN.findall(text)[:tokens])

    async def stream(
        self, prompt: Prompt, sampling: Sampling, reuse: Any = None
    ) -> AsyncIterator[str | Generation]:
        """See `LLM.stream`; raises what the script says."""
        call = LLMCall("stream", self._name(prompt), prompt, sampling)
        async for piece in self._answer(call, sampling):
            yield piece

    async def generate_json(
        self, prompt: Prompt, schema: Mapping[str, Any], sampling: Sampling
    ) -> Generation | None:
        """See `LLM.generate_json`; None unless the model is `constrained`."""
        if not self._constrained:
            return None
        call = LLMCall("generate_json", self._name(prompt), prompt, sampling, schema=schema)
        pieces = [piece async for piece in self._answer(call, sampling)]
        return next(piece for piece in pieces if isinstance(piece, Generation))

    async def ensemble(
        self, prompts: Sequence[Prompt], weights: Sequence[float], sampling: Sampling
    ) -> AsyncIterator[str | Generation]:
        """See `LLM.ensemble`: one answer to the chunks of all prompts; the first is kept."""
        if not self.supports_logprobs:
            raise no_logprobs_error(self.id, "ensemble")
        call = LLMCall("ensemble", self._name(prompts[0]), prompts[0], sampling)
        chunks = tuple(one for prompt in prompts for one in prompt.chunks)
        read = replace(call, prompt=replace(prompts[0], chunks=chunks))
        async for piece in self._answer(call, sampling, read):
            yield piece

    async def score(self, prompt: Prompt, answers: Sequence[str]) -> list[Scored]:
        """See `LLM.score`: Yes and No by `yes`, one text by what the documents explain of it."""
        if not self.supports_logprobs:
            raise no_logprobs_error(self.id, "score")
        if not all(answers):
            raise InputError("an answer to score is empty", fix="leave it out")
        name = self._name(prompt)
        self.calls.append(LLMCall("score", name, prompt, candidates=tuple(answers)))
        if len(answers) == 1:
            verdict = self._yes.get(_JUDGED.get(name, name), [0.9])
            explained = float(_next(verdict)) if prompt.chunks else 0.0
            return [Scored((-10.0 * (1 - explained),), self.count(text_of(prompt)))]
        chance = min(max(float(_next(self._yes.get(name, [0.9]))), 1e-9), 1 - 1e-9)
        tokens = self.count(text_of(prompt))
        return [
            Scored((math.log(chance if one == "Yes" else 1 - chance),), tokens) for one in answers
        ]

    async def token_surprisal(self, text: str, after: str = "") -> list[tuple[int, int, float]]:
        """See `LLM.token_surprisal`: each token has the model's probability."""
        if self._probability is None:
            raise no_logprobs_error(self.id, "token_surprisal")
        surprisal = -math.log(_next(self._probability))
        return [(one.start(), one.end(), surprisal) for one in _TOKEN.finditer(text)]

    def _name(self, prompt: Prompt) -> str:
        """The built-in prompt that this one is made of."""
        text = f"{prompt.system}\n{prompt.question}"
        return max(
            (name for name, one in self.prompt_set.items() if one.text in text),
            key=lambda name: (name in self._names, len(self.prompt_set[name].text)),
            default=_OTHER,
        )

    def _reply(self, call: LLMCall) -> Reply:
        answers = [self._default]
        for key, given in self._rules:
            if key == call.name if isinstance(key, str) else key.search(call.text):
                answers = given
                break
        answer = _next(answers)
        if callable(answer):
            answer = answer(call.prompt)
        match answer:
            case Reply():
                return answer
            case Exception():
                return Reply(error=answer)
            case BaseModel():
                return Reply(answer.model_dump_json())
            case Mapping():
                return Reply(json.dumps(answer, ensure_ascii=False))
        return Reply(str(answer))

    async def _answer(
        self, call: LLMCall, sampling: Sampling, read: LLMCall | None = None
    ) -> AsyncIterator[str | Generation]:
        self.calls.append(call)
        reply = self._reply(read or call)
        ends = [at for stop in sampling.stop if (at := reply.text.find(stop)) >= 0]
        tokens = _TOKEN.findall(reply.text[: min(ends, default=len(reply.text))])
        whole = len(tokens) <= sampling.max_tokens
        tokens = tokens[: sampling.max_tokens]
        for token in tokens:
            await asyncio.sleep(0)
            yield token
        if reply.hangs:
            await asyncio.Event().wait()
        if reply.error is not None:
            raise reply.error
        count = reply.prompt_tokens
        yield Generation(
            "".join(tokens),
            self.count(call.text) if count is None else count,
            len(tokens),
            "stop" if whole else "length",
            None,
            self._logprobs(tokens, reply) if sampling.logprobs else None,
        )

    def _logprobs(self, tokens: list[str], reply: Reply) -> tuple[tuple[str, float], ...] | None:
        given = reply.probability
        if given is None and self._probability is not None:
            given = _next(self._probability)
        if given is None:
            return None
        each = [given] * len(tokens) if isinstance(given, (int, float)) else list(given)
        return tuple((token, math.log(one)) for token, one in zip(tokens, each, strict=True))


def text_of(prompt: Prompt) -> str:
    """All parts of a prompt as one text, in their order."""
    history = (text for _, text in prompt.history)
    parts = (prompt.system, *history, *prompt.chunks, prompt.question)
    return "\n\n".join(part for part in parts if part)


def rate_limit_error() -> ModelError:
    """An error as a served model's refusal for too many requests becomes one."""
    return _refused("Error code: 429 - rate limit reached, try again later")


def timeout_error() -> ModelError:
    """An error as a served model's silence becomes one."""
    return _refused("Request timed out.")


def _refused(reason: str) -> ModelError:
    return ModelError(
        f"the model 'scripted' did not answer: {reason}",
        where="resources.llm",
        fix="check its address, key and network",
    )


def _in_order(given: Any) -> list[Any]:
    several = isinstance(given, Sequence) and not isinstance(given, str)
    return list(given) if several else [given]


def _next(answers: list[Any]) -> Any:
    return answers.pop(0) if len(answers) > 1 else answers[0]
