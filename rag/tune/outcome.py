"""What a search has found: the front, the winner and what it gains, what mattered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rag.errors import ConfigError
from rag.eval.compare import Gain, mean, paired_gain
from rag.tune.settings import signed
from rag.tune.state import BASELINE, State, Task

if TYPE_CHECKING:
    from rag.tune.dimensions import Config
    from rag.tune.search import Plan, Search


@dataclass(frozen=True)
class Row:
    """A trial of the front, or the baseline.

    Attributes:
        trial: Its number; 0 is the baseline.
        config: Its values.
        origin: What proposed it.
        questions: Of the search, that it was put.
        means: Measure to its mean over these.
        held: Measure to its mean over the held-out questions.
        gains: Measure to what it gains over the baseline on the held-out questions, with the 95 %
            interval of the paired bootstrap; more of a cost is a loss.
        feasible: Whether it keeps all constraints, on the questions of the search.
    """

    trial: int
    config: Config
    origin: str
    questions: int
    means: Mapping[str, float | None]
    held: Mapping[str, float | None]
    gains: Mapping[str, Gain | None]
    feasible: bool = True


@dataclass(frozen=True)
class Outcome:
    """The result of a study.

    Attributes:
        baseline: The pipeline as written.
        front: The best trials, none of which beats another; the first is the winner.
        trials: How many were measured.
        spent: Questions that were put to them while searching.
        held: Number of the held-out questions.
        dropped: Trial to why it went.
        failed: Trial to how many of its runs failed, and why the first did; they count as wrong.
        points: Of every trial that was measured, its means over what it was put.
        importance: Dimension to its share in the differences of the first objective.
    """

    baseline: Row
    front: tuple[Row, ...]
    trials: int
    spent: int
    held: int
    dropped: Mapping[int, str] = field(default_factory=dict)
    failed: Mapping[int, str] = field(default_factory=dict)
    points: Mapping[int, Mapping[str, float | None]] = field(default_factory=dict)
    importance: Mapping[str, float] = field(default_factory=dict)

    @property
    def winner(self) -> Row:
        """The best in the first objective of those that keep the constraints.

        Raises:
            ConfigError: None keeps them.
        """
        best = self.front[0]
        if not best.feasible:
            means = ", ".join(
                f"{name} {value:g}" for name, value in best.means.items() if value is not None
            )
            raise ConfigError(
                "no configuration keeps the constraints",
                where="tune.constraints",
                fix=f"loosen them: the nearest has {means}",
            )
        return best


def outcome(
    search: Search, plan: Plan, state: State, importance: Mapping[str, float] | None = None
) -> Outcome:
    """The result of a study that is over."""
    ids = [one for block in search.holdout for one in block]
    rows = {
        number: _row(number, ids, search, plan, state)
        for number in dict.fromkeys((BASELINE, *plan.front))
    }
    shown = search.settings.measures
    measured = [number for number in state.trials if plan.board.count(number)]
    return Outcome(
        baseline=rows[BASELINE],
        front=tuple(rows[number] for number in plan.front),
        trials=len(measured),
        spent=plan.spent,
        held=len(ids),
        dropped=plan.dropped,
        failed={n: _failed(state.failed[n]) for n in sorted(state.failed)},
        points={n: {m: plan.board.mean(n, m) for m in shown} for n in measured},
        importance=importance or {},
    )


def _failed(errors: Mapping[str, str]) -> str:
    first = next(iter(errors.values())).splitlines()[0]
    return f"{len(errors)} of its runs failed and count as wrong; the first: {first}"


def _row(number: int, ids: Sequence[str], search: Search, plan: Plan, state: State) -> Row:
    names, board, trial = search.settings.measures, plan.board, state.trials[number]
    count = board.count(number)
    mine, before = _held(number, search, state), _held(BASELINE, search, state)
    columns = {name: [mine.get(one, {}).get(name) for one in ids] for name in names}
    others = {name: [before.get(one, {}).get(name) for one in ids] for name in names}
    return Row(
        trial=number,
        config=trial.config,
        origin=trial.origin,
        questions=sum(len(block) for block in board.blocks[:count]),
        means={name: board.mean(number, name) for name in names},
        held={name: mean(columns[name]) for name in names},
        gains={
            name: paired_gain(signed(columns[name], name), signed(others[name], name))
            for name in names
        },
        feasible=board.feasible(number),
    )


def _held(number: int, search: Search, state: State) -> dict[str, Mapping[str, float]]:
    found: dict[str, Mapping[str, float]] = {}
    for task in _blocks(number, len(search.holdout)):
        found.update(state.results.get(task, {}))
    return found


def _blocks(number: int, count: int) -> Iterable[Task]:
    return (Task("holdout", number, block) for block in range(count))
