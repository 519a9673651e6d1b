"""Choices among allowed answers, by log-probabilities or by reading what a model wrote."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import repeat

from rag.errors import InputError
from rag.models.llm import LLM, Generation, Sampling
from rag.prompts.prompt import Prompt

DENIED = 3
"""Words before an option among which a negation denies it."""
CHOICE_TOKENS = 24
"""Answer tokens of a model without log-probabilities, to name its choice."""
ALTERNATIVES = 20
"""Most likely tokens in the place of the first one; no provider gives more."""
_ALONE = re.compile(r"[^\S\n]*(?:\Z|\n|[^\w\s/'\u2019-]|(?<=\s)-)")
_CLAUSE = re.compile(r"[,;:.!?()]+|\s[-\u2013\u2014]+\s|[\u2014\u3002\uff01\uff0c\uff1a]")
_NEGATIONS = frozenset("not nor cannot never neither without t".split())  # noqa: SIM905
"""Words before an option that deny it (`t` as in `isn't`)."""
_OTHER = _NEGATIONS | {"no", "or", "and", "than"}
"""Those, and words that name an option beside another one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the allowed answers."""

    option: str
    probabilities: dict[str, float]
    """Of every option; they sum to 1."""
    certain: bool
    """False: all options are equally likely, or none was named, and the default was taken."""
    tokens: int
    """Of prompt and answer."""


async def choose(
    llm: LLM, prompt: Prompt, options: Sequence[str], *, default: str | None = None
) -> Choice:
    """One of the options, as the answer to the prompt.

    With log-probabilities nothing is generated: the softmax over the options' mean log-probability
    per token. The mean, since the total would prefer the option with the fewest tokens. Otherwise
    the options are listed in the prompt, and the answer is parsed tolerantly; its first token's
    alternatives, where the model gives them, are the probabilities.

    Args:
        llm: The model.
        prompt: The question.
        options: The allowed answers; different ones.
        default: The choice where all options are equally likely or none is named; the first
            option if not given.

    Raises:
        InputError: There are no options, one is empty, two are equal, or the default is none of
            them.
        ModelError: As `LLM.stream`.
    """
    if not options or len(set(options)) < len(options) or not all(o.strip() for o in options):
        raise InputError(
            f"{list(options)!r} are no options to choose among",
            fix="give at least one; each different, none empty",
        )
    if default is not None and default not in options:
        raise InputError(f"the default {default!r} is no option", fix=f"one of {list(options)!r}")
    if len(options) == 1:
        return Choice(options[0], {options[0]: 1.0}, certain=True, tokens=0)
    if llm.supports_logprobs:
        return await _by_logprobs(llm, prompt, options, default)
    return await _by_answer(llm, prompt, options, default)


async def _by_logprobs(
    llm: LLM, prompt: Prompt, options: Sequence[str], default: str | None
) -> Choice:
    scored = await llm.score(prompt, options)
    probabilities = softmax([one.mean for one in scored])
    tokens = scored[0].prompt_tokens + sum(len(one.logprobs) for one in scored)
    best = max(range(len(options)), key=lambda at: probabilities[at])
    tied = max(probabilities) - min(probabilities) < 1e-9
    option = (default or options[0]) if tied else options[best]
    return Choice(option, dict(zip(options, probabilities, strict=True)), not tied, tokens)


async def _by_answer(
    llm: LLM, prompt: Prompt, options: Sequence[str], default: str | None
) -> Choice:
    listed = "\n".join(f"- {option}" for option in options)
    question = f"{prompt.question}\n\n{llm.prompt_set['choose'].text}\n{listed}"
    done = await llm.generate(
        replace(prompt, question=question),
        Sampling(
            max_tokens=llm.profile.allowance(CHOICE_TOKENS),
            logprobs=llm.profile.logprobs,
            alternatives=ALTERNATIVES if llm.profile.logprobs else 0,
        ),
    )
    named = named_option(done.text, options)
    tokens = done.prompt_tokens + done.completion_tokens
    if named is None:
        uniform = dict.fromkeys(options, 1 / len(options))
        return Choice(default or options[0], uniform, certain=False, tokens=tokens)
    probabilities = first_word_probabilities(done, options)
    if probabilities is not None and probabilities[named] > 0:
        best = max(options, key=lambda option: probabilities[option])
        return Choice(best, probabilities, certain=True, tokens=tokens)
    return Choice(named, {o: float(o == named) for o in options}, certain=True, tokens=tokens)


def first_word_probabilities(done: Generation, options: Sequence[str]) -> dict[str, float] | None:
    """How likely each option was in the place of the answer's first word; they sum to 1.

    A token counts for the only option that it begins. None: there are no alternatives, or none
    of them begins an option.
    """
    for (token, _), likely in zip(done.logprobs or (), done.alternatives or (), strict=False):
        if not _words(token):
            continue
        found = dict.fromkeys(options, 0.0)
        for other, logprob in likely.items():
            start = other.strip(" *\"'`\n").casefold()
            begun = [o for o in options if start and o.casefold().startswith(start)]
            if len(begun) == 1:
                found[begun[0]] += math.exp(logprob)
        total = sum(found.values())
        return {option: one / total for option, one in found.items()} if total else None
    return None


def named_option(text: str, options: Sequence[str]) -> str | None:
    """The option that an answer names, as whole words; None: it names none.

    The one that is the whole answer or stands alone at its beginning (`No, since ...`); else the
    one that a line ends with (`Answer: no`), the last line first; else the only one that is named
    and not denied. Case, punctuation and spaces do not matter; where two begin at the same
    position, the longer one is meant.
    """
    by_words = {words: option for option in options if (words := _words(option))}
    answer = text.casefold().replace("_", " ")
    lines = reversed(answer.splitlines())
    candidates = (_at_start(answer, by_words), *map(_at_end, lines, repeat(by_words)))
    for found in candidates:
        if found is not None:
            return by_words[found]
    only = _only(answer, list(by_words))
    return None if only is None else by_words[only]


def _at_start(answer: str, options: Iterable[str]) -> str | None:
    """The option that the answer begins with, if only punctuation or a new line follows."""
    words = _words(answer)
    named = [option for option in options if f"{words} ".startswith(f"{option} ")]
    if not named:
        return None
    longest = max(named, key=len)
    spelled = r"\W+".join(map(re.escape, longest.split()))
    begins = re.match(rf"\W*{spelled}", answer)
    return longest if begins and _ALONE.match(answer, begins.end()) else None


def _at_end(line: str, options: Iterable[str]) -> str | None:
    """The option that the line ends with, unless its last clause denies it or names another."""
    words = f" {_words(line)}"
    named = [option for option in options if words.endswith(f" {option}")]
    if not named:
        return None
    longest = max(named, key=len)
    clause = [part for one in _CLAUSE.split(line) if (part := _words(one))][-1]
    return None if _OTHER.intersection(clause[: -len(longest)].split()) else longest


def _only(answer: str, options: Sequence[str]) -> str | None:
    """The option that is named and not denied, if there is exactly one."""
    named: set[str] = set()
    words = _words(answer).split()
    at = 0
    while at < len(words):
        here = [one for one in options if words[at : at + len(one.split())] == one.split()]
        longest = max(here, key=len, default="")
        if longest and not _NEGATIONS.intersection(words[max(at - DENIED, 0) : at]):
            named.add(longest)
        at += len(longest.split()) or 1
    return named.pop() if len(named) == 1 else None


def _words(text: str) -> str:
    """The words of a text in lower case, separated by single spaces."""
    return " ".join(re.findall(r"\w+", text.casefold().replace("_", " ")))


def softmax(values: Sequence[float]) -> list[float]:
    """Probabilities in proportion to exp(value)."""
    top = max(values)
    exps = [math.exp(value - top) for value in values]
    return [one / sum(exps) for one in exps]
