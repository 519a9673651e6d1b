"""The claims that an answer makes, and how far documents support them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel, Field

from rag.text.sentences import sentences

_WORD = re.compile(r"\w")
SAYS = "it says: "
"""Begins a problem that is a contradiction."""
MARK = re.compile(r"\s*\[(\d{1,3})\]")
"""A citation mark: the number of a source."""


class Claim(BaseModel):
    """A sentence of the answer."""

    text: str
    support: float = Field(description="0 to 1: by the source that supports it most")
    source: int | None = Field(description="number of that source, from 1")
    problem: str = Field(
        default="", description="what no source has, or what one says instead; empty: nothing"
    )


def claims_of(answer: str) -> list[str]:
    """The answer's sentences that have a word in them."""
    return [one for one in sentences(answer) if _WORD.search(one)]


def unmarked(claim: str) -> str:
    """The claim without marks of citations."""
    return MARK.sub("", claim)


def supported(
    answer: str,
    scores: Sequence[Sequence[float]],
    problems: Sequence[Sequence[str]] | None = None,
) -> tuple[list[Claim], float]:
    """The answer's claims with the support of their best document, and the mean over them.

    Args:
        answer: As generated.
        scores: For each of its `claims_of` the support of every document, 0 to 1.
        problems: For each the problem with every document.

    Returns:
        The claims, and their mean support; 0 if there are none.
    """
    claims = []
    for number, (text, row) in enumerate(zip(claims_of(answer), scores, strict=True)):
        best = max(range(len(row)), key=lambda at: row[at], default=None)
        score = 0.0 if best is None else row[best]
        source = best + 1 if best is not None and score > 0 else None
        problem = "" if problems is None or best is None else problems[number][best]
        if score == 0 and problems is not None:  # what a source says instead is worth more
            statements = (one for one in problems[number] if one.startswith(SAYS))
            problem = next(statements, problem)
        claims.append(Claim(text=text, support=round(score, 4), source=source, problem=problem))
    return claims, sum(claim.support for claim in claims) / max(len(claims), 1)
