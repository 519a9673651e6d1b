"""What the operators that search an index share: filters and query vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from rag.models import Embedder

if TYPE_CHECKING:
    import numpy as np

Filter = Annotated[
    dict[str, Any] | None,
    Field(description="metadata filter, such as {path: {$in: [a.md]}}"),
]
"""A field with a filter that applies to every search of the step."""


def combine_filters(
    one: Mapping[str, Any] | None, other: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """The filter that holds where both hold; None: no filter."""
    given = [dict(where) for where in (one, other) if where]
    return {"$and": given} if len(given) > 1 else next(iter(given), None)


def query_vector(embedder: Embedder, query: str, passages: Sequence[str] | None) -> np.ndarray:
    """The query's embedding, or its mean with those of hypothetical passages: float32 [dim].

    HyDE (Gao et al. 2022, arXiv 2212.10496, section 3.2).
    """
    vector = embedder.embed_query(query)
    if passages:
        vector = (vector + embedder.embed(passages).sum(axis=0)) / (len(passages) + 1)
    return vector
