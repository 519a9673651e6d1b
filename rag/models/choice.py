"""What a model tells besides its answers: likelihoods, and choices among allowed answers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

from rag.errors import InputError
from rag.prompts.templates import prompts

if TYPE_CHECKING:
    from rag.models.base import LLM, Prompt

DENIED = 3
"""Words before an option that may deny it."""
CHOICE_TOKENS = 24
"""Tokens that a model without likelihoods may use to name its choice."""
_ALONE = re.compile(r"[^\S\n]*(?:\Z|\n|[^\w\s/'\u2019-]|(?<=\s)-)")
_CLAUSE = re.compile(r"[,;:.!?()]+|\s[-\u2013\u2014]+\s|[\u2014\u3002\uff01\uff0c\uff1a]")
_DENIES = frozenset("not nor cannot never neither without t".split())  # noqa: SIM905
"""Words before an option that deny it (`isn't`)."""
_OTHER = _DENIES | {"no", "or", "and", "than"}
"""Those, and such as name it beside another."""


@dataclass(frozen=True, slots=True)
class Scored:
    """How likely an answer is: the natural log probability of each of its tokens."""

    logprobs: tuple[float, ...]
    prompt_tokens: int
    """Of the prompt before it, which all answers share."""

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
    tokens: int
    """Read and written for it."""


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
        return Choice(options[0], {options[0]: 1.0}, certain=True, tokens=0)
    if llm.scores:
        return await _by_likelihood(llm, prompt, options, default)
    return await _by_asking(llm, prompt, options, default)


async def _by_likelihood(
    llm: LLM, prompt: Prompt, options: Sequence[str], default: str | None
) -> Choice:
    scored = await llm.score(prompt, options)
    shares = softmax([one.mean for one in scored])
    tokens = scored[0].prompt_tokens + sum(len(one.logprobs) for one in scored)
    best = max(range(len(options)), key=lambda at: shares[at])
    tied = max(shares) - min(shares) < 1e-9
    option = (default or options[0]) if tied else options[best]
    return Choice(option, dict(zip(options, shares, strict=True)), not tied, tokens)


async def _by_asking(
    llm: LLM, prompt: Prompt, options: Sequence[str], default: str | None
) -> Choice:
    from dataclasses import replace

    from rag.models.base import Sampling

    listed = "\n".join(f"- {option}" for option in options)
    text = prompts()["choose"].text
    asked = replace(prompt, question=f"{prompt.question}\n\n{text}\n{listed}")
    done = await llm.generate(asked, Sampling(max_tokens=CHOICE_TOKENS))
    named = named_option(done.text, options)
    tokens = done.prompt_tokens + done.completion_tokens
    if named is None:
        even = dict.fromkeys(options, 1 / len(options))
        return Choice(default or options[0], even, certain=False, tokens=tokens)
    return Choice(named, {o: float(o == named) for o in options}, certain=True, tokens=tokens)


def named_option(text: str, options: Sequence[str]) -> str | None:
    """The option that an answer names, as whole words; None: it names none.

    The one that is the whole answer or stands alone at its beginning (`No, since ...`); else the
    one that a line's last words come to (`Answer: no`), the last line first; else the only one
    that is named and not denied. Case, punctuation and spaces do not matter; where two begin at
    the same place, the longer one is meant.
    """
    plain = {words: option for option in options if (words := _plain(option))}
    said = text.casefold().replace("_", " ")
    for found in (_opening(said, plain), *map(_last, reversed(said.splitlines()), repeat(plain))):
        if found is not None:
            return plain[found]
    only = _only(said, list(plain))
    return None if only is None else plain[only]


def _opening(said: str, options: Iterable[str]) -> str | None:
    """The option that the text begins with, if nothing but punctuation or a new line follows."""
    words = _plain(said)
    named = [option for option in options if f"{words} ".startswith(f"{option} ")]
    if not named:
        return None
    longest = max(named, key=len)
    spelled = r"\W+".join(map(re.escape, longest.split()))
    begins = re.match(rf"\W*{spelled}", said)
    return longest if begins and _ALONE.match(said, begins.end()) else None


def _last(line: str, options: Iterable[str]) -> str | None:
    """The option that the line's last words end with, if they name it and deny none."""
    words = f" {_plain(line)}"
    named = [option for option in options if words.endswith(f" {option}")]
    if not named:
        return None
    longest = max(named, key=len)
    clause = [part for one in _CLAUSE.split(line) if (part := _plain(one))][-1]
    return None if _OTHER.intersection(clause[: -len(longest)].split()) else longest


def _only(said: str, options: Sequence[str]) -> str | None:
    """The option that is named and not denied, if there is but one."""
    named: set[str] = set()
    words = _plain(said).split()
    at = 0
    while at < len(words):
        here = [one for one in options if words[at : at + len(one.split())] == one.split()]
        longest = max(here, key=len, default="")
        if longest and not _DENIES.intersection(words[max(at - DENIED, 0) : at]):
            named.add(longest)
        at += len(longest.split()) or 1
    return named.pop() if len(named) == 1 else None


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold().replace("_", " ")))


def softmax(values: Sequence[float]) -> list[float]:
    """Shares that sum to 1."""
    top = max(values)
    exps = [math.exp(value - top) for value in values]
    return [one / sum(exps) for one in exps]
