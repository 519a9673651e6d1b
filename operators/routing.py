"""What the routers by keywords and by example utterances share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from rag.models import Embedder


def _not_empty(routes: dict[str, list[str]]) -> dict[str, list[str]]:
    if not routes or not all(routes.values()):
        raise ValueError("name at least one route, and for each something that selects it")
    return routes


Routes = Annotated[dict[str, list[str]], AfterValidator(_not_empty)]
"""Route to the keywords or example utterances that select it; at least one of each."""
Default = Annotated[
    str | None, Field(description="route taken if none matches; default: the first one")
]


def best_route(scores: Mapping[str, float], least: float, default: str | None) -> str:
    """The route with the highest score, the first of equal ones; the default if it is too low.

    Args:
        scores: Of each route, in the order of the routes.
        least: The score that a route needs.
        default: None: the first route.
    """
    best = max(scores, key=lambda route: scores[route])
    return best if scores[best] >= least else default or next(iter(scores))


def keyword_shares(query: str, routes: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """For each route the share of its keywords, 0 to 1, that are whole words of the query."""
    words = f" {_plain(query)} "
    found = {}
    for route, keywords in routes.items():
        plain = [_plain(word) for word in keywords]
        found[route] = sum(f" {word} " in words for word in plain if word) / len(plain)
    return found


def utterance_cosines(
    query: str, routes: Mapping[str, Sequence[str]], embedder: Embedder
) -> dict[str, float]:
    """For each route the highest cosine of the query with one of its utterances."""
    vector = embedder.embed_query(query)
    return {
        route: float((embedder.embed(utterances) @ vector).max())
        for route, utterances in routes.items()
    }


def _plain(text: str) -> str:
    """The words of the text, in lower case."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))
