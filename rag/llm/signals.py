"""What a model tells besides its answers: likelihoods, and choices among allowed answers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.errors import InputError

if TYPE_CHECKING:
    from rag.llm.base import LLM, Prompt

CHOICE_TOKENS = 24
"""Tokens that a model without likelihoods may use to name its choice."""


@dataclass(frozen=True, slots=True)
class Scored:
    """How likely an answer is: the natural log probability of each of its tokens."""

    logprobs: tuple[float, ...]

    @property
    def total(self) -> float:
        """Log probability of the whole answer, in nats."""
        return sum(self.logprobs)

    @property
    def mean(self) -> float:
        """Log probability per token, in nats."""
        return self.total / len(self.logprobs)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the allowed answers."""

    option: str
    probabilities: dict[str, float]
    """Of every option; they sum to 1."""
    certain: bool
    """False: nothing told the options apart, and the default was taken."""


async def choose(
    llm: LLM,
    prompt: Prompt,
    options: Sequence[str],
    *,
    default: str | None = None,
) -> Choice:
    """See `LLM.choose`."""
    if not options or len(set(options)) < len(options) or not all(o.strip() for o in options):
        raise InputError(
            f"{list(options)!r} are no options to choose among",
            fix="give at least one; each different, none empty",
        )
    if default is not None and default not in options:
        raise InputError(f"the default {default!r} is no option", fix=f"one of {list(options)!r}")
    if len(options) == 1:
        return Choice(options[0], {options[0]: 1.0}, certain=True)
    if llm.scores:
        return await _by_likelihood(llm, prompt, options, default)
    return await _by_asking(llm, prompt, options, default)


async def _by_likelihood(
    llm: LLM, prompt: Prompt, options: Sequence[str], default: str | None
) -> Choice:
    means = [scored.mean for scored in await llm.score(prompt, options)]
    shares = softmax(means)
    best = max(range(len(options)), key=lambda at: shares[at])
    tied = max(shares) - min(shares) < 1e-9
    option = (default or options[0]) if tied else options[best]
    return Choice(option, dict(zip(options, shares, strict=True)), certain=not tied)


async def _by_asking(
    llm: LLM, prompt: Prompt, options: Sequence[str], default: str | None
) -> Choice:
    from dataclasses import replace

    from rag.llm.base import Sampling

    listed = "\n".join(f"- {option}" for option in options)
    asked = replace(
        prompt,
        question=f"{prompt.question}\n\nAnswer with one of these and nothing else:\n{listed}",
    )
    done = await llm.generate(asked, Sampling(max_tokens=CHOICE_TOKENS))
    named = named_option(done.text, options)
    if named is None:
        even = dict.fromkeys(options, 1 / len(options))
        return Choice(default or options[0], even, certain=False)
    return Choice(named, {o: float(o == named) for o in options}, certain=True)


def named_option(text: str, options: Sequence[str]) -> str | None:
    """The option that an answer names: the first that stands in it as whole words.

    Case, punctuation and spaces do not matter; where two begin at the same place, the longer
    one is meant.
    """
    said = f" {_plain(text)} "
    found = [
        (at, -len(plain), option)
        for option in options
        if (plain := _plain(option)) and (at := said.find(f" {plain} ")) >= 0
    ]
    return min(found)[2] if found else None


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold().replace("_", " ")))


def softmax(values: Sequence[float]) -> list[float]:
    """Shares that sum to 1."""
    top = max(values)
    exps = [math.exp(value - top) for value in values]
    return [one / sum(exps) for one in exps]
