"""How sure a mean of few questions is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from rag.eval.compare import Gain


def interval(differences: Sequence[float], confidence: float) -> Gain:
    """The mean of paired differences and its interval, which is honest for few of them.

    Student's interval, widened by one pair of each sign as large as the largest difference: an
    interval of eight equal differences would be a point else. The idea is that of Agresti and Min
    (2005, Statistics in Medicine 24), who add such pairs for binary outcomes.

    Args:
        differences: At least one.
        confidence: Of the interval, 0.5 to 1.
    """
    count = len(differences)
    plain = sum(differences) / count
    largest = max(map(abs, differences))
    if largest == 0:
        return Gain(0.0, 0.0, 0.0)
    total, squares = sum(differences), sum(one * one for one in differences) + 2 * largest**2
    middle = total / (count + 2)
    variance = max(squares - (count + 2) * middle**2, 0.0) / (count + 1)
    half = _quantile(confidence, count + 1) * math.sqrt(variance / (count + 2))
    return Gain(plain, middle - half, middle + half)


def look(confidence: float, number: int) -> float:
    """The confidence of one look among many, so that all of them together err no more often.

    What may go wrong is spent as 6 / (pi n)^2 in the n-th look, which adds up to 1.

    Args:
        confidence: Of all looks together.
        number: Of this one, from 1.
    """
    return 1 - (1 - confidence) * 6 / (math.pi * number) ** 2


@lru_cache(maxsize=4096)
def _quantile(confidence: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))
