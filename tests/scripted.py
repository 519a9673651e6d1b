"""A language model that says what a test tells it to."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

from rag.models import LLM, Generation, Prompt, Sampling, Scored
from rag.models.llm import no_logprobs_error
from rag.prompts.templates import prompts

JUDGED = {"question_of": "relevant", "generate": "supported", "question_answered": "useful"}
"""What a prompt judges by the likelihood of a text behind it."""


class Scripted(LLM):
    """Answers by what it was told to do.

    Args:
        says: Name in `prompts.yaml` (`generate` for `generate`) to the answer; a list is answered
            one after another, the last one again and again.
        yes: Name of a question for Yes or No to the probability of Yes, likewise; also the share
            of a text's surprise that is taken away where `relevant`, `supported` and `useful` are
            judged by likelihood.
        sure: Probability of each token of its answers; None: it tells no likelihoods.
    """

    id = "scripted"
    window = 4096

    def __init__(
        self,
        says: dict[str, Any] | None = None,
        yes: dict[str, Any] | None = None,
        sure: float | list[float] | None = None,
    ) -> None:
        self.says = {name: _several(value) for name, value in (says or {}).items()}
        self.yes = {name: _several(value) for name, value in (yes or {}).items()}
        self.sure = None if sure is None else _several(sure)
        self.supports_logprobs = sure is not None or bool(yes)
        self.asked: list[str] = []
        self.prompts: list[Prompt] = []
        self.samplings: list[Sampling] = []

    def count(self, text: str) -> int:
        return -(-len(text) // 4)

    def clip(self, text: str, tokens: int) -> str:
        return text[: tokens * 4]

    def _name(self, prompt: Prompt) -> str:
        text = f"{prompt.system}\n{prompt.question}"
        return max(
            (name for name, one in prompts().items() if one.text in text),
            key=lambda name: (name in self.says or name in self.yes, len(prompts()[name].text)),
            default="other",
        )

    async def stream(
        self, prompt: Prompt, sampling: Sampling, reuse: Any = None
    ) -> AsyncIterator[str | Generation]:
        name = self._name(prompt)
        self.asked.append(name)
        self.prompts.append(prompt)
        self.samplings.append(sampling)
        text = str(_next(self.says, name, "something"))[: sampling.max_tokens * 4]
        yield text
        told = None
        if sampling.logprobs and self.sure is not None:
            chance = self.sure.pop(0) if len(self.sure) > 1 else self.sure[0]
            told = tuple((f"{word} ", math.log(chance)) for word in text.split())
        yield Generation(text, 1, 1, "stop", None, told)

    async def ensemble(
        self, prompts: Sequence[Prompt], weights: Sequence[float], sampling: Sampling
    ) -> AsyncIterator[str | Generation]:
        if not self.supports_logprobs:
            raise no_logprobs_error(self.id, "ensemble")
        async for piece in self.stream(prompts[0], sampling):
            yield piece

    async def score(self, prompt: Prompt, answers: Sequence[str]) -> list[Scored]:
        name = self._name(prompt)
        self.asked.append(name)
        self.prompts.append(prompt)
        if len(answers) == 1:
            # A text's surprise by itself, and what of it is left behind documents.
            explained = float(_next(self.yes, JUDGED.get(name, name), 0.9)) if prompt.chunks else 0
            return [Scored((-10.0 * (1 - explained),), 1)]
        chance = min(max(float(_next(self.yes, name, 0.9)), 1e-9), 1 - 1e-9)
        return [Scored((math.log(chance if one == "Yes" else 1 - chance),), 1) for one in answers]


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _next(table: dict[str, list[Any]], name: str, default: Any) -> Any:
    row = table.get(name, [default])
    return row.pop(0) if len(row) > 1 else row[0]
