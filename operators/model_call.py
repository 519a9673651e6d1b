"""Calls of a language model from a step, each counted in what the run spends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from pydantic import BaseModel

from rag.flow import RunContext
from rag.kvcache.settings import ContextSettings
from rag.models import LLM, Generation, Prompt, Sampling
from rag.models.choice import Choice, Scored

M = TypeVar("M", bound=BaseModel)


class ModelCall:
    """A language model within one step.

    Each method counts one LLM call before the model is called, and the tokens that it read and
    generated afterwards (`RunContext.spend`), so that budgets hold whatever an operator does.
    They raise what the methods of `LLM` raise, and `BudgetError`.

    Args:
        llm: The model.
        ctx: The run that is charged, and that gets warnings and tokens.
    """

    def __init__(self, llm: LLM, ctx: RunContext) -> None:
        self.llm = llm
        self.ctx = ctx

    @property
    def has_logprobs(self) -> bool:
        """Whether the model gives log-probabilities."""
        return self.llm.scores

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Generation:
        """The whole answer at once."""
        self.ctx.spend(llm_calls=1)
        return self._counted(await self.llm.generate(prompt, sampling))

    async def stream(
        self, prompt: Prompt, sampling: Sampling, reuse: ContextSettings | None = None
    ) -> Generation:
        """The answer, whose tokens are passed on as they come.

        Args:
            prompt: In parts.
            sampling: How tokens are chosen.
            reuse: How the documents' cached states are composed; None: all are computed.
        """
        self.ctx.spend(llm_calls=1)
        return await self._passed_on(self.llm.stream(prompt, sampling, reuse))

    async def ensemble(
        self, prompts: Sequence[Prompt], weights: Sequence[float], sampling: Sampling
    ) -> Generation:
        """One answer to several prompts (`LLM.ensemble`), whose tokens are passed on."""
        self.ctx.spend(llm_calls=1)
        return await self._passed_on(self.llm.ensemble(prompts, weights, sampling))

    async def choose(
        self, prompt: Prompt, options: Sequence[str], *, default: str | None = None
    ) -> Choice:
        """One of the options (`LLM.choose`)."""
        self.ctx.spend(llm_calls=1)
        choice = await self.llm.choose(prompt, options, default=default)
        self.ctx.spend(tokens=choice.tokens)
        return choice

    async def structured(self, prompt: Prompt, schema: type[M], sampling: Sampling) -> M | None:
        """The answer as an object (`LLM.structured`); None: the model gave none."""
        self.ctx.spend(llm_calls=1)
        done = await self.llm.structured(prompt, schema, sampling)
        self.ctx.spend(llm_calls=done.calls - 1, tokens=done.tokens)
        return done.value

    async def score(self, prompt: Prompt, answers: Sequence[str]) -> list[Scored]:
        """The log-probabilities of each answer's tokens after the prompt (`LLM.score`)."""
        self.ctx.spend(llm_calls=1)
        found = await self.llm.score(prompt, answers)
        read = found[0].prompt_tokens if found else 0
        self.ctx.spend(tokens=read + sum(len(one.logprobs) for one in found))
        return found

    async def token_surprisals(self, text: str) -> list[tuple[int, int, float]]:
        """First character, end and surprisal in nats of each token (`LLM.surprise`)."""
        self.ctx.spend(llm_calls=1)
        found = await self.llm.surprise(text)
        self.ctx.spend(tokens=len(found))
        return found

    async def _passed_on(self, pieces: AsyncIterator[str | Generation]) -> Generation:
        done = Generation("", 0, 0, "stop")
        async for piece in pieces:
            if isinstance(piece, Generation):
                done = self._counted(piece)
            else:
                self.ctx.token(piece)
        return done

    def _counted(self, done: Generation) -> Generation:
        self.ctx.spend(tokens=done.prompt_tokens + done.completion_tokens)
        return done
