"""Differences between two systems on the same questions, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 10_000


@dataclass(frozen=True)
class Gain:
    """A mean difference with its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def paired(
    one: Sequence[float | None], other: Sequence[float | None], seed: int = 0
) -> Gain | None:
    """How much larger `one` is, by the paired bootstrap (Efron and Tibshirani 1993, chapter 13).

    Args:
        one: Values by question; None where there is none.
        other: Of the same questions.
        seed: Of the draws.

    Returns:
        None where no question has both values.
    """
    import numpy as np

    both = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    if not both:
        return None
    differences = np.asarray([a - b for a, b in both], dtype=float)
    chance = np.random.default_rng(seed)
    drawn = chance.integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.quantile(differences[drawn].mean(1), [0.025, 0.975])
    return Gain(float(differences.mean()), float(low), float(high))


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of those that there are."""
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None
