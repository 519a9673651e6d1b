"""Which points are meant: those of a source, and how many are sent together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

BATCH = 256
"""Points that are sent together."""


def points_of(
    uri: str, *, generation: str | None = None, up_to: int | None = None, but: str | None = None
) -> Any:
    """The points of a source: of a generation, of writes up to a number, but of a generation."""
    from qdrant_client import models

    def is_(key: str, value: str) -> Any:
        return models.FieldCondition(key=key, match=models.MatchValue(value=value))

    must = [is_("source", uri)]
    if generation is not None:
        must.append(is_("generation", generation))
    if up_to is not None:
        must.append(models.FieldCondition(key="number", range=models.Range(lte=up_to)))
    return models.Filter(must=must, must_not=[is_("generation", but)] if but else None)


def batched(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Points in batches that are sent together."""
    rest = iter(items)
    while some := list(islice(rest, BATCH)):
        yield some
