"""Calls of a language model from a step, each counted and reported."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, is_dataclass, replace
from time import perf_counter
from typing import Any, TypeVar

from pydantic import BaseModel

from rag.flow import RunContext
from rag.kvcache.settings import ReuseSettings
from rag.models import (
    LLM,
    Action,
    Generation,
    Prompt,
    Sampling,
    Scored,
    ToolDescription,
    ToolTurn,
    choose,
    next_action,
    structured,
)
from rag.models.choice import Choice
from rag.models.together import together
from rag.prompts.layout import messages
from rag.prompts.templates import PromptTemplate

M = TypeVar("M", bound=BaseModel)
S = TypeVar("S")
T = TypeVar("T")

PREAMBLE = 300
"""Characters that a model may write before it calls a tool, and that are no part of its answer."""


class ModelCall:
    """A language model within one step.

    Each method counts one LLM call before the model is called, and the tokens that it read and
    generated afterwards, so that budgets hold whatever an operator does; and reports the prompt
    and the output, which the record of the run shows. They raise what the methods of `LLM`
    raise, and `BudgetError`.

    Args:
        llm: The model.
        ctx: The run that is charged, and that gets warnings and tokens.
    """

    def __init__(self, llm: LLM, ctx: RunContext) -> None:
        self.llm = llm
        self.ctx = ctx

    @property
    def scores(self) -> bool:
        """Whether the model scores texts that are given: `score`, `token_surprisals`."""
        return bool(self.llm.supports_logprobs)

    @property
    def has_logprobs(self) -> bool:
        """Whether the tokens that the model generates come with log-probabilities."""
        return self.scores or self.llm.profile.logprobs

    @property
    def texts(self) -> Mapping[str, PromptTemplate]:
        """Every text that the model is given, by name."""
        return self.llm.prompt_set

    @property
    def strong(self) -> bool:
        """Whether the model is a strong one."""
        return self.llm.profile.size == "strong"

    async def together(self, call: Callable[[S], Awaitable[T]], inputs: Iterable[S]) -> list[T]:
        """The results of independent calls, in the order of their inputs.

        As many at once as the model's profile allows. When one fails, the others are cancelled.
        """
        return await together(call, inputs, self.llm.profile.concurrency)

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Generation:
        """The whole answer at once."""
        started = self._begun()
        return self._ended(started, prompt, await self.llm.generate(prompt, sampling))

    async def stream(
        self, prompt: Prompt, sampling: Sampling, reuse: ReuseSettings | None = None
    ) -> Generation:
        """The answer, whose tokens are passed on as they come.

        Args:
            prompt: In parts.
            sampling: How tokens are chosen.
            reuse: How the documents' cached states are composed; None: all are computed.
        """
        return await self._passed_on(prompt, self.llm.stream(prompt, sampling, reuse))

    async def ensemble(
        self, prompts: Sequence[Prompt], weights: Sequence[float], sampling: Sampling
    ) -> Generation:
        """One answer to several prompts (`LLM.ensemble`), whose tokens are passed on.

        They are reported as one prompt with the chunks of all.
        """
        shown = replace(prompts[0], chunks=tuple(one for p in prompts for one in p.chunks))
        return await self._passed_on(shown, self.llm.ensemble(prompts, weights, sampling))

    async def choose(
        self, prompt: Prompt, options: Sequence[str], *, default: str | None = None
    ) -> Choice:
        """One of the options (`rag.models.choose`)."""
        started = self._begun()
        choice = await choose(self.llm, prompt, options, default=default)
        self._report(started, prompt, choice.option, choice.tokens, 0)
        return choice

    async def structured(self, prompt: Prompt, schema: type[M], sampling: Sampling) -> M | None:
        """The answer as an object (`rag.models.structured`); None: the model gave none."""
        started = self._begun()
        done = await structured(self.llm, prompt, schema, sampling)
        self.ctx.spend(llm_calls=done.calls - 1)
        shown = "" if done.value is None else done.value.model_dump_json()
        self._report(started, prompt, shown, done.tokens, 0)
        return done.value

    async def act(
        self,
        prompt: Prompt,
        turns: Sequence[ToolTurn],
        tools: Sequence[ToolDescription],
        sampling: Sampling,
        *,
        answer: bool = False,
    ) -> Action:
        """What the model does next (`rag.models.next_action`); the text of an answer is passed on.

        Whether a text is the answer is known in its end only, as calls may follow. It is passed on
        from its 300th character: what models write before a call is shorter.
        """
        started = self._begun()
        held: list[str] = []
        streams = answer
        action = Action("")
        pieces = next_action(self.llm, prompt, turns, tools, sampling, answer=answer)
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Action):
                    action = piece
                    continue
                held.append(piece)
                streams = streams or sum(map(len, held)) > PREAMBLE
                if streams:
                    self.ctx.token("".join(held))
                    held.clear()
        if held and not action.calls:
            self.ctx.token("".join(held))
        self.ctx.spend(llm_calls=action.llm_calls - 1)
        shown = [{"name": one.name, "arguments": one.arguments} for one in action.calls]
        self.ctx.model_called(
            model=self.llm.id,
            prompt=action.prompt,
            output="\n".join(filter(None, (action.text, json.dumps(shown) if shown else ""))),
            prompt_tokens=action.prompt_tokens,
            completion_tokens=action.completion_tokens,
            seconds=perf_counter() - started,
        )
        return replace(action, prompt=())

    async def score(self, prompt: Prompt, answers: Sequence[str]) -> list[Scored]:
        """The log-probabilities of each answer's tokens after the prompt (`LLM.score`)."""
        started = self._begun()
        scored = await self.llm.score(prompt, answers)
        read = scored[0].prompt_tokens if scored else 0
        count = sum(len(one.logprobs) for one in scored)
        self._report(started, prompt, "", read + count, 0)
        return scored

    async def token_surprisals(self, text: str, after: str = "") -> list[tuple[int, int, float]]:
        """First character, end and surprisal in nats of each token (`LLM.token_surprisal`).

        Args:
            text: Whose tokens.
            after: What precedes the text.
        """
        started = self._begun()
        surprisals = await self.llm.token_surprisal(text, after)
        self._report(started, Prompt(after + text), "", len(surprisals), 0)
        return surprisals

    async def _passed_on(
        self, prompt: Prompt, pieces: AsyncIterator[str | Generation]
    ) -> Generation:
        started = self._begun()
        done = Generation("", 0, 0, "stop")
        async for piece in pieces:
            if isinstance(piece, Generation):
                done = self._ended(started, prompt, piece)
            else:
                self.ctx.token(piece)
        return done

    def _begun(self) -> float:
        self.ctx.spend(llm_calls=1)
        return perf_counter()

    def _ended(self, started: float, prompt: Prompt, done: Generation) -> Generation:
        self._report(
            started, prompt, done.text, done.prompt_tokens, done.completion_tokens, done.reuse
        )
        return done

    def _report(
        self,
        started: float,
        prompt: Prompt,
        output: str,
        prompt_tokens: int,
        completion_tokens: int,
        reuse: Any = None,
    ) -> None:
        self.ctx.model_called(
            model=self.llm.id,
            prompt=[{"role": role, "content": text} for role, text in messages(prompt)],
            output=output,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            seconds=perf_counter() - started,
            reuse=asdict(reuse) if is_dataclass(reuse) and not isinstance(reuse, type) else reuse,
        )
