"""Learned and held-out questions, and that none is on both sides."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from rag.errors import ConfigError
from rag.eval.metrics import normalized

if TYPE_CHECKING:
    from rag.eval.dataset import Dataset

LEAST = 16
"""Examples below which nothing is learned that could be measured."""
ALIKE = 0.85
"""Share of the words of two questions that both have, from which they are nearly equal."""


class Example(Protocol):
    """What is learned or measured."""

    @property
    def group(self) -> str:
        """What stays on one side of the split."""

    @property
    def key(self) -> str:
        """The same for questions that differ in writing only."""


E = TypeVar("E", bound=Example)


def split(
    examples: Sequence[E], held_out: int, seed: int, share: float = 1 / 3
) -> tuple[list[E], list[E]]:
    """Examples to learn from, and others of other groups and with other questions.

    Args:
        examples: Of one origin.
        held_out: Of the others at most.
        seed: Of the order.
        share: Of the others at most.
    """
    wanted = min(held_out, int(len(examples) * share))
    groups: dict[str, list[E]] = defaultdict(list)
    for one in examples:
        groups[one.group].append(one)
    names = sorted(groups)
    random.Random(seed).shuffle(names)  # noqa: S311 - no secret
    held: list[E] = []
    for name in names:
        if len(held) + len(groups[name]) <= wanted:
            held += groups.pop(name)
    asked = {one.key for one in held}
    return [one for of in groups.values() for one in of if one.key not in asked], held


def refuse_few(learned: int, held: int, where: str) -> None:
    """Refuse what is too little to learn from or to measure.

    Args:
        learned: Examples to learn from.
        held: Examples to measure.
        where: The options that they come from.

    Raises:
        ConfigError: It is too little.
    """
    if learned < LEAST or held < LEAST // 2:
        raise ConfigError(
            f"{learned} examples to learn from and {held} to measure are too few",
            where=where,
            fix=f"give {LEAST} and {LEAST // 2} at least; a few hundred train well",
        )


def refuse_leak(data: Dataset, tests: Sequence[Dataset]) -> None:
    """Refuse questions that are learned and tested, also nearly equal ones.

    Raises:
        ConfigError: There is one.
    """
    for test in tests:
        texts = [one.text for one in (*data.queries, *test.queries)]
        border = len(data.queries)
        for at, other in alike(texts):
            if at < border <= other:
                raise ConfigError(
                    f"the question {data.queries[at].id!r} is "
                    f"{test.queries[other - border].id!r} of {test.name}, "
                    "which is to test what was learned",
                    where=data.name,
                    fix="take it out of one of them: a question that was learned tests nothing",
                )


def groups(texts: Sequence[str]) -> list[int]:
    """For each text a number that is the same for those that are nearly equal."""
    first = list(range(len(texts)))
    for at, other in alike(texts):
        old, new = first[other], first[at]
        first = [new if one == old else one for one in first]
    return first


def alike(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The pairs of texts that are nearly equal, the earlier one first.

    Two sets that share most of their words share one of the rarest few of each (prefix filtering,
    Chaudhuri et al. 2006), so that not all pairs are compared.
    """
    sets = [set(normalized(one).split()) or {one} for one in texts]
    often = Counter(word for one in sets for word in one)
    seen: dict[str, list[int]] = defaultdict(list)
    for at, words in enumerate(sets):
        few = len(words) - math.ceil(ALIKE * len(words)) + 1
        rare = sorted(words, key=lambda word: (often[word], word))[:few]
        for other in sorted({one for word in rare for one in seen[word]}):
            if len(words & sets[other]) >= ALIKE * len(words | sets[other]):
                yield other, at
        for word in rare:
            seen[word].append(at)
