"""Differences between two systems on the same questions, with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 10_000


@dataclass(frozen=True)
class Gain:
    """A mean difference with its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def paired_gain(
    values: Sequence[float | None], baseline: Sequence[float | None], seed: int = 0
) -> Gain | None:
    """How much larger `values` are, by the paired bootstrap (Efron and Tibshirani 1993, ch. 13).

    Args:
        values: One per question; None if the question has none.
        baseline: Of the same questions, in the same order.
        seed: Of the resampling.

    Returns:
        None if no question has both values.
    """
    import numpy as np

    pairs = [
        (a, b) for a, b in zip(values, baseline, strict=True) if a is not None and b is not None
    ]
    if not pairs:
        return None
    differences = np.asarray([a - b for a, b in pairs], dtype=float)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.quantile(differences[drawn].mean(1), [0.025, 0.975])
    return Gain(float(differences.mean()), float(low), float(high))


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are not None; None if there are none."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def interval(values: Sequence[float | None], seed: int = 0) -> Gain | None:
    """The mean of the values that are not None with its interval, by the bootstrap."""
    present = [value for value in values if value is not None]
    return paired_gain(present, [0.0] * len(present), seed)
