"""Which questions the search sees, in which order, and which it never does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.errors import ConfigError
from rag.eval.metrics import normalized

if TYPE_CHECKING:
    from rag.eval.dataset import Dataset, Query
    from rag.tune.settings import Settings

HELD_BLOCK = 16
"""Held-out questions that are put to a pipeline at a time."""


def split(data: Dataset, settings: Settings) -> tuple[list[Query], list[Query]]:
    """The questions for the search, shuffled, and those that are held out.

    Questions with the same words are on the same side: the answer to one is that to the other.

    Args:
        data: The data set.
        settings: What is measured, the share that is held out, and the seed.

    Raises:
        ConfigError: There are too few questions.
    """
    usable = [one for one in data.queries if _usable(one, settings)]
    groups = _groups(usable)
    random.Random(settings.seed).shuffle(groups)  # noqa: S311 - a sample, no secret
    wanted = round(len(usable) * (1 - settings.holdout))
    search: list[Query] = []
    held: list[Query] = []
    for group in groups:
        (search if len(search) + len(group) <= wanted else held).extend(group)
    if len(search) < 2 * settings.block or len(held) < settings.block:
        raise ConfigError(
            f"{len(usable)} questions that can be measured are too few: {len(search)} to search "
            f"with, {len(held)} held out",
            where=data.name,
            fix=f"give at least {4 * settings.block}, or smaller blocks; "
            "`rag eval make` makes questions",
        )  # fmt: skip
    return search, held


def _usable(query: Query, settings: Settings) -> bool:
    ranked = bool(query.relevant) or not settings.ranks
    return ranked and (query.measurable or not settings.answers)


def _groups(queries: Sequence[Query]) -> list[list[Query]]:
    """Questions that belong together: those with the same words."""
    groups: dict[str, list[Query]] = {}
    for query in queries:
        groups.setdefault(normalized(query.text), []).append(query)
    return list(groups.values())


def blocks_of(queries: Sequence[Query], size: int = HELD_BLOCK) -> list[list[Query]]:
    """The questions in blocks, the last of which may be smaller."""
    return [list(queries[at : at + size]) for at in range(0, len(queries), size)]
