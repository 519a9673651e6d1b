"""Which configurations are worth more questions: a race over paired differences.

A racing algorithm (Maron and Moore 1994; F-Race, Birattari et al. 2002): all that are left get the
next block of questions, and those are dropped of which an interval says that another one is better.
Questions are paired, so that how hard they are does not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from rag.eval.compare import Gain
from rag.tune.intervals import interval, look
from rag.tune.settings import Settings, sign
from rag.tune.state import BASELINE, Values

Measured = Callable[[int, int], Values | None]
"""Trial and block to what was measured; None: nothing yet."""


@dataclass
class Board:
    """What was measured of trials, block by block from the first.

    Args:
        settings: Objectives, constraints and confidence.
        blocks: Ids of the questions of each block.
        gains: What was compared before; what is measured once does not change.
    """

    settings: Settings
    blocks: Sequence[Sequence[str]]
    gains: dict[tuple[int, int, str, int], Gain | None] = field(default_factory=dict)
    _values: dict[int, dict[str, dict[str, float]]] = field(default_factory=dict)
    _counts: dict[int, int] = field(default_factory=dict)

    def add(self, trial: int, values: Values) -> None:
        """Take in the values of a trial's next block."""
        mine = self._values.setdefault(trial, {})
        mine.update({name: dict(one) for name, one in values.items()})
        self._counts[trial] = self.count(trial) + 1

    def count(self, trial: int) -> int:
        """How many blocks a trial has."""
        return self._counts.get(trial, 0)

    def column(self, trial: int, measure: str, count: int | None = None) -> list[float | None]:
        """A trial's values in the first blocks, all it has if `count` is None."""
        mine = self._values.get(trial, {})
        blocks = self.blocks[: self.count(trial) if count is None else count]
        return [mine.get(one, {}).get(measure) for block in blocks for one in block]

    def mean(self, trial: int, measure: str) -> float | None:
        """A trial's mean in its blocks."""
        found = [one for one in self.column(trial, measure) if one is not None]
        return fmean(found) if found else None

    def gain(self, trial: int, over: int, measure: str, count: int) -> Gain | None:
        """How much better a trial is than another in the first blocks; less of a cost is better.

        At the confidence of the look at so many blocks. None: no question has both values.
        """
        key = (trial, over, measure, count)
        if key not in self.gains:
            pairs = zip(
                self.column(trial, measure, count), self.column(over, measure, count), strict=True
            )
            found = [sign(measure) * (a - b) for a, b in pairs if a is not None and b is not None]
            level = look(self.settings.confidence, count)
            self.gains[key] = interval(found, level) if found else None
        return self.gains[key]

    def worth(self, trial: int, measure: str) -> float:
        """A trial's mean, as if of all questions: its mean gain over the baseline."""
        count = min(self.count(trial), self.count(BASELINE))
        found = self.gain(trial, BASELINE, measure, count) if count else None
        return -math.inf if found is None else found.mean

    # Constraints

    def excess(self, trial: int) -> tuple[float, ...]:
        """By how much a trial's means miss each bound; above 0: it does not keep it."""
        found = []
        for measure, bound in self.settings.constraints.items():
            mean = self.mean(trial, measure)
            for limit, factor in ((bound.min, -1.0), (bound.max, 1.0)):
                if limit is not None:
                    found.append(math.inf if mean is None else factor * (mean - limit))
        return tuple(found)

    def feasible(self, trial: int) -> bool:
        """Whether a trial's means keep all bounds."""
        return all(one <= 0 for one in self.excess(trial))

    def infeasible(self, trial: int) -> str | None:
        """Which bound a trial does not keep, by its interval."""
        count = self.count(trial)
        level = look(self.settings.confidence, max(count, 1))
        for measure, bound in self.settings.constraints.items():
            found = [one for one in self.column(trial, measure) if one is not None]
            if not found:
                continue
            if bound.max is not None and interval([v - bound.max for v in found], level).low > 0:
                return f"{measure} is above {bound.max:g}"
            if bound.min is not None and interval([v - bound.min for v in found], level).high < 0:
                return f"{measure} is below {bound.min:g}"
        return None

    # Order

    def dominates(self, one: int, other: int, count: int) -> bool:
        """Whether a trial is better, by its intervals: in no objective less good, in one better."""
        gains = [self.gain(one, other, name, count) for name in self.settings.objectives]
        known = [found for found in gains if found is not None]
        return (
            len(known) == len(gains)
            and all(found.low >= 0 for found in known)
            and any(found.low > 0 for found in known)
        )

    def front(self, trials: Iterable[int]) -> list[int]:
        """The feasible trials that no other beats by its means, best in the first objective first.

        If none is feasible, those that miss their bounds least.
        """
        ranked = self.ranked(trials)
        good = [one for one in ranked if self.feasible(one)]
        if not good:
            return ranked[:1]
        names = self.settings.objectives
        points: dict[tuple[float, ...], int] = {}
        for one in good:  # of several that are equally good, the first
            points.setdefault(tuple(self.worth(one, name) for name in names), one)
        return [
            one
            for point, one in points.items()
            if not any(_beats(other, point) for other in points)
        ]

    def ranked(self, trials: Iterable[int]) -> list[int]:
        """Feasible ones first; the first objective decides, then the others, then who was first."""

        def key(trial: int) -> tuple[object, ...]:
            over = sum(max(one, 0.0) for one in self.excess(trial))
            worths = [-self.worth(trial, name) for name in self.settings.objectives]
            return (over > 0, over, *worths, trial)

        return sorted(trials, key=key)


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def dropped(board: Board, live: Sequence[int]) -> dict[int, str]:
    """Of the trials that are left, those to drop, and why.

    One with more blocks, from an earlier race, stays until another one has as many. The baseline
    always stays: gains are over it.

    Args:
        board: What was measured.
        live: Trials that are left.
    """
    out: dict[int, str] = {}
    for trial in live:
        why = board.infeasible(trial)
        if why is not None and trial != BASELINE:
            out[trial] = why
    left = [one for one in live if one not in out]
    single = len(board.settings.objectives) == 1
    rivals = board.front(left)[:1] if single else left
    for trial in left:
        blocks = board.count(trial)
        for rival in rivals:
            enough = rival != trial and rival not in out and board.count(rival) >= blocks
            if trial != BASELINE and enough and board.dominates(rival, trial, blocks):
                out[trial] = f"trial {rival} is better" if rival else "the baseline is better"
                break
    return out
